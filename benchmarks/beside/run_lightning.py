"""The same data, network and optimiser as the textbook's, in Lightning's trainer as it comes, without logger and checkpoints."""

import lightning
import torch
from nets import Watch, network, serve
from run_textbook import Pictures
from torch.utils.data import DataLoader


class Module(lightning.LightningModule):
    "A network with its loss and its optimiser."

    def __init__(self, net, lr, watch):
        super().__init__()
        self.net, self.lr, self.watch = net, lr, watch

    def training_step(self, x, index):
        loss = self.net.summed(x)
        self.log("loss", loss, prog_bar=True)
        return loss

    def configure_optimizers(self):
        return torch.optim.Adam(self.net.parameters(), lr=self.lr)

    def on_train_epoch_start(self):
        self.watch.start()

    def on_train_epoch_end(self):
        self.watch.stop()


def run(images, batch, lr, epochs, marks, folder):
    net = network(images.shape[1:])
    watch = Watch(net)  # speed only
    trainer = lightning.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
    )
    trainer.fit(
        Module(net, lr, watch),
        DataLoader(Pictures(images), batch_size=batch, shuffle=True),
    )
    return watch


if __name__ == "__main__":
    serve(run)
