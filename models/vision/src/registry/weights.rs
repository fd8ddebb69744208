//! Published weights, and what their images were normalised with.

use super::{KnownWeights, Normalisation};

/// Of the ImageNet training set, as torchvision uses it.
pub(super) const IMAGENET: Normalisation = Normalisation {
    mean: [0.485, 0.456, 0.406],
    std: [0.229, 0.224, 0.225],
};

/// CIFAR-100 as in RepDistiller `dataset/cifar100.py`.
pub(super) const CIFAR100: Normalisation = Normalisation {
    mean: [0.5071, 0.4867, 0.4408],
    std: [0.2675, 0.2565, 0.2761],
};

/// CIFAR-10 as in karanchahal/distiller `data_loader.py`.
pub(super) const DISTILLER_CIFAR10: Normalisation = Normalisation {
    mean: [0.4914, 0.4822, 0.4465],
    std: [0.2023, 0.1994, 0.2010],
};

/// CIFAR-100 as in karanchahal/distiller `data_loader.py`.
pub(super) const DISTILLER_CIFAR100: Normalisation = Normalisation {
    mean: [0.507, 0.487, 0.441],
    std: [0.267, 0.256, 0.276],
};

const fn akamaster(
    file: &'static str,
    bytes: u64,
    accuracy: f64,
    sha256: &'static str,
) -> KnownWeights {
    KnownWeights {
        file,
        source: "akamaster/pytorch_resnet_cifar10@d5489e8",
        folder: "https://raw.githubusercontent.com/akamaster/pytorch_resnet_cifar10/d5489e8995e81e91ce6b1d69dcc98ad579b0b153/pretrained_models",
        bytes,
        licence: "BSD-2-Clause",
        dataset: "cifar10",
        classes: 10,
        accuracy,
        normalisation: IMAGENET,
        sha256,
    }
}

const fn distiller(
    file: &'static str,
    bytes: u64,
    classes: usize,
    accuracy: f64,
    sha256: &'static str,
) -> KnownWeights {
    let cifar10 = classes == 10;
    KnownWeights {
        file,
        source: "karanchahal/distiller@a17ec06",
        folder: "https://raw.githubusercontent.com/karanchahal/distiller/a17ec06cbeafcdd2aea19d7c7663033c951392f5/pretrained",
        bytes,
        licence: "Apache-2.0",
        dataset: if cifar10 { "cifar10" } else { "cifar100" },
        classes,
        accuracy,
        normalisation: if cifar10 {
            DISTILLER_CIFAR10
        } else {
            DISTILLER_CIFAR100
        },
        sha256,
    }
}

pub(super) const AKAMASTER_RESNET20: &[KnownWeights] = &[akamaster(
    "resnet20-12fca82f.th",
    1_099_231,
    91.73,
    "12fca82f0bebc4135bf1f32f6e3710e61d5108578464b84fd6d7f5c1b04036c8",
)];
pub(super) const AKAMASTER_RESNET32: &[KnownWeights] = &[akamaster(
    "resnet32-d509ac18.th",
    1_890_043,
    92.63,
    "d509ac1820d7f25398913559d7e81a13229b1e7adc5648e3bfa5e22dc137f850",
)];
pub(super) const AKAMASTER_RESNET44: &[KnownWeights] = &[akamaster(
    "resnet44-014dd654.th",
    2_680_855,
    93.10,
    "014dd6541728a1c700b1642ab640e211dc6eb8ed507d70697458dc8f8a0ae2e4",
)];
pub(super) const AKAMASTER_RESNET56: &[KnownWeights] = &[akamaster(
    "resnet56-4bfd9763.th",
    3_471_733,
    93.39,
    "4bfd97631478d6b638d2764fd2baff3edb1d7d82252d54439343b6596b9b5367",
)];
pub(super) const DISTILLER_RESNET8: &[KnownWeights] = &[
    distiller(
        "resnet8_cifar100.pth",
        918_691,
        100,
        64.11,
        "b5c0c391b3b205ce417c6ee56e3757c0849ce4e6eb68ea6ffa7ade25c7f4d1c0",
    ),
    distiller(
        "resnet8_cifar10.pth",
        733_564,
        10,
        89.59,
        "64348137297d0c4a40775e1339182cc98af806fda0f6914e98a329e36869d76c",
    ),
    distiller(
        "resnet8_cifar10_distilled.pth",
        733_848,
        10,
        91.00,
        "5cd22bcb1c05324dbf3418e1990580760f85670e6c6d06733536e63052762fda",
    ),
];
pub(super) const DISTILLER_RESNET14: &[KnownWeights] = &[distiller(
    "resnet14_cifar100.pth",
    1_707_190,
    100,
    68.30,
    "58180f4bc663ec141843ce052a0e1e45e6633cf28c590d06593b1afa454972de",
)];
pub(super) const DISTILLER_RESNET20: &[KnownWeights] = &[
    distiller(
        "resnet20_cifar100.pth",
        2_496_153,
        100,
        69.69,
        "9dd75a40f65691d4dbb4c5be9e467ddf710a4d6f176bfc9a7e1eb434c2364717",
    ),
    distiller(
        "resnet20_cifar10.pth",
        2_311_377,
        10,
        93.02,
        "0e3f459cc118db6022105b5f067681f79bcf3ce41584905d729498e4584954ee",
    ),
];
pub(super) const DISTILLER_RESNET26: &[KnownWeights] = &[distiller(
    "resnet26_cifar100.pth",
    3_284_865,
    100,
    71.06,
    "73a2dea2c395d62ae0255b57ee664b04f67fb7581dc731e34ed2b22165705ba0",
)];
pub(super) const DISTILLER_RESNET32: &[KnownWeights] = &[distiller(
    "resnet32_cifar100.pth",
    4_073_812,
    100,
    71.69,
    "f79eb92271ad6fe2869f998f6ea2f200331ca9f030da23636c34c95535af5315",
)];
pub(super) const DISTILLER_WRN_10_1: &[KnownWeights] = &[distiller(
    "WRN10_1_cifar10.pth",
    637_415,
    10,
    88.06,
    "b83c433b88959852f737d9249a3580bfe35f2f6099edf1d4876e6b02947123fc",
)];
pub(super) const DISTILLER_WRN_16_1: &[KnownWeights] = &[distiller(
    "WRN16_1_cifar10.pth",
    1_426_831,
    10,
    91.75,
    "2c477e7dbee9f52e924fd4b6636a94ba21a80fbb4df56cd9d21672933e30f05b",
)];
