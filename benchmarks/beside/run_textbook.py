"""The loop of the tutorials: a DataLoader over PIL images and ToTensor, as torchvision's own sets give them, and plain Adam."""

import torch
from nets import Enough, Watch, network, serve
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import ToTensor


class Pictures(Dataset):
    "uint8 images (N, C, H, W) handed out as torchvision's MNIST and CIFAR10 do: one PIL image at a time, then the transform."

    def __init__(self, images):
        self.images, self.transform = images.transpose(0, 2, 3, 1), ToTensor()

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        return self.transform(Image.fromarray(self.images[i].squeeze()))


def run(images, batch, lr, epochs, marks, folder):
    net = network(images.shape[1:])
    loader = DataLoader(Pictures(images), batch_size=batch, shuffle=True)
    optimiser, watch, total = (
        torch.optim.Adam(net.parameters(), lr=lr),
        Watch(net, marks, folder),
        0.0,
    )
    watch.start()
    try:
        for _ in range(epochs):
            for x in loader:
                optimiser.zero_grad()
                loss = net.summed(x)
                loss.backward()
                total += loss.item()
                optimiser.step()
                watch.tick()
            watch.stop()
    except Enough:
        pass
    return watch


if __name__ == "__main__":
    serve(run)
