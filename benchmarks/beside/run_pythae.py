"""pythae's VAE and trainer with the same networks; the images are one float tensor in [0, 1], as its documentation gives them."""

import tempfile

import torch
from nets import Enough, Watch, network, serve
from pythae.data.datasets import BaseDataset
from pythae.models import VAE, VAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from pythae.trainers.training_callbacks import TrainingCallback


class Encoder(BaseEncoder):
    "Means and log-variances."

    def __init__(self, net):
        BaseEncoder.__init__(self)
        self.net = net

    def forward(self, x):
        mu, logvar = self.net(x).chunk(2, 1)
        return ModelOutput(embedding=mu, log_covariance=logvar)


class Decoder(BaseDecoder):
    "Pixels in [0, 1]."

    def __init__(self, net):
        BaseDecoder.__init__(self)
        self.net = net

    def forward(self, z):
        return ModelOutput(reconstruction=torch.sigmoid(self.net(z)))


class Timed(TrainingCallback):
    "Tells the watch."

    def __init__(self, watch):
        self.watch = watch

    def on_epoch_begin(self, training_config, **others):
        self.watch.start()

    def on_train_step_end(self, training_config, **others):
        self.watch.tick()

    def on_epoch_end(self, training_config, **others):
        self.watch.stop()


def run(images, batch, lr, epochs, marks, folder, no_cuda=True):
    "`batch` and `lr`: None for pythae's own."
    net = network(images.shape[1:])
    config = VAEConfig(
        input_dim=images.shape[1:],
        latent_dim=net.decoder[0].in_features,
        reconstruction_loss="bce" if net.binary else "mse",
    )
    model = VAE(config, encoder=Encoder(net.encoder), decoder=Decoder(net.decoder))
    given = ({"per_device_train_batch_size": batch} if batch else {}) | (
        {"learning_rate": lr} if lr else {}
    )
    data = BaseDataset(torch.from_numpy(images).float() / 255, torch.zeros(len(images)))
    watch = Watch(net, marks, folder)
    with tempfile.TemporaryDirectory() as out:
        settings = BaseTrainerConfig(
            output_dir=out, num_epochs=epochs, no_cuda=no_cuda, **given
        )
        try:
            BaseTrainer(
                model, data, training_config=settings, callbacks=[Timed(watch)]
            ).train()
        except Enough:
            pass
    return watch


if __name__ == "__main__":
    serve(run)
