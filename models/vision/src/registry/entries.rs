//! The table: one row a model, sizes at its default number of classes.

use super::weights::{self, CIFAR100, DISTILLER_CIFAR10, DISTILLER_CIFAR100, IMAGENET};
use super::{Head, KnownWeights, ModelEntry, Normalisation, Stage};
use crate::ModelConfig;
use crate::{
    AkamasterResNetConfig as Akamaster, CifarResNetConfig as ResNet,
    CifarResNetV2Config as ResNetV2, DistillerResNetConfig as Distiller,
    MobileNetV2Config as MobileNetV2, ShuffleNetV1Config as ShuffleNetV1,
    ShuffleNetV2Config as ShuffleNetV2, VggConfig as Vgg, WideResNetConfig as WideResNet,
};

/// Channels, height, width of a CIFAR image.
const CIFAR: [usize; 3] = [3, 32, 32];

const fn stage(channels: usize, stride: usize) -> Stage {
    Stage { channels, stride }
}

const fn head(weight: &'static str, bias: &'static str) -> Head {
    Head {
        weight,
        bias,
        foldable: true,
        positions: 1,
    }
}

const FC: Head = head("fc.weight", "fc.bias");
const LINEAR: Head = head("linear.weight", "linear.bias");
const CLASSIFIER: Head = head("classifier.weight", "classifier.bias");
const CLASSIFIER_0: Head = head("classifier.0.weight", "classifier.0.bias");

/// Batch norm and ReLU stand between the last stage and the pool.
const fn not_foldable(head: Head) -> Head {
    Head {
        foldable: false,
        ..head
    }
}

/// The pool leaves 2x2 pixels.
const LINEAR_OF_QUARTERS: Head = Head {
    positions: 4,
    ..LINEAR
};

/// What a family's rows have in common.
struct Family {
    tag: &'static str,
    classes: usize,
    stages: &'static [Stage],
    head: Head,
    normalisation: Normalisation,
    unused: &'static [&'static str],
}

const fn row(
    family: &Family,
    name: &'static str,
    config: fn(usize) -> ModelConfig,
    (parameters, tensors, macs): (usize, usize, u64),
    weights: &'static [KnownWeights],
) -> ModelEntry {
    ModelEntry {
        name,
        task: "classify",
        family: family.tag,
        config,
        classes: family.classes,
        input: CIFAR,
        parameters,
        tensors,
        macs,
        stages: family.stages,
        head: family.head,
        default_normalisation: family.normalisation,
        unused: family.unused,
        weights,
    }
}

/// NORM's students carry `alpha` (ResNet), `layer21` and `layer22` (wide ResNet) and never read them.
const RESNET_UNUSED: &[&str] = &["alpha"];
const WRN_UNUSED: &[&str] = &["layer21", "layer22"];

const RESNET: Family = Family {
    tag: "cifar_resnet",
    classes: 100,
    stages: &[stage(16, 1), stage(16, 1), stage(32, 2), stage(64, 4)],
    head: FC,
    normalisation: CIFAR100,
    unused: RESNET_UNUSED,
};

const RESNET_X4: Family = Family {
    tag: "cifar_resnet",
    classes: 100,
    stages: &[stage(32, 1), stage(64, 1), stage(128, 2), stage(256, 4)],
    head: FC,
    normalisation: CIFAR100,
    unused: RESNET_UNUSED,
};

const RESNET18: Family = Family {
    tag: "cifar_resnet_v2",
    classes: 100,
    stages: &[
        stage(64, 1),
        stage(64, 1),
        stage(128, 2),
        stage(256, 4),
        stage(512, 8),
    ],
    head: LINEAR,
    normalisation: CIFAR100,
    unused: RESNET_UNUSED,
};

const RESNET50: Family = Family {
    tag: "cifar_resnet_v2",
    classes: 100,
    stages: &[
        stage(64, 1),
        stage(256, 1),
        stage(512, 2),
        stage(1024, 4),
        stage(2048, 8),
    ],
    head: LINEAR,
    normalisation: CIFAR100,
    unused: RESNET_UNUSED,
};

const WRN_1: Family = Family {
    tag: "wide_resnet",
    classes: 100,
    stages: &[stage(16, 1), stage(16, 1), stage(32, 2), stage(64, 4)],
    head: not_foldable(FC),
    normalisation: CIFAR100,
    unused: WRN_UNUSED,
};

const WRN_2: Family = Family {
    tag: "wide_resnet",
    classes: 100,
    stages: &[stage(16, 1), stage(32, 1), stage(64, 2), stage(128, 4)],
    head: not_foldable(FC),
    normalisation: CIFAR100,
    unused: WRN_UNUSED,
};

const VGG: Family = Family {
    tag: "vgg",
    classes: 100,
    stages: &[
        stage(64, 1),
        stage(128, 2),
        stage(256, 4),
        stage(512, 8),
        stage(512, 8),
    ],
    head: CLASSIFIER,
    normalisation: CIFAR100,
    unused: &[],
};

const MOBILENET_V2: Family = Family {
    tag: "mobilenet_v2",
    classes: 100,
    stages: &[
        stage(16, 2),
        stage(12, 2),
        stage(16, 4),
        stage(48, 8),
        stage(160, 16),
    ],
    head: CLASSIFIER_0,
    normalisation: CIFAR100,
    unused: &[],
};

const SHUFFLENET_V1: Family = Family {
    tag: "shufflenet_v1",
    classes: 100,
    stages: &[stage(24, 1), stage(240, 2), stage(480, 4), stage(960, 8)],
    head: LINEAR,
    normalisation: CIFAR100,
    unused: &[],
};

const SHUFFLENET_V2: Family = Family {
    tag: "shufflenet_v2",
    classes: 100,
    stages: &[stage(24, 1), stage(116, 2), stage(232, 4), stage(464, 8)],
    head: LINEAR,
    normalisation: CIFAR100,
    unused: &[],
};

const AKAMASTER: Family = Family {
    tag: "akamaster_resnet",
    classes: 10,
    stages: &[stage(16, 1), stage(16, 1), stage(32, 2), stage(64, 4)],
    head: LINEAR,
    normalisation: IMAGENET,
    unused: &[],
};

const DISTILLER: Family = Family {
    tag: "distiller_resnet",
    classes: 100,
    stages: &[stage(64, 1), stage(16, 1), stage(32, 2), stage(64, 4)],
    head: LINEAR_OF_QUARTERS,
    normalisation: DISTILLER_CIFAR100,
    unused: &[],
};

const DISTILLER_WRN: Family = Family {
    tag: "wide_resnet",
    classes: 10,
    stages: &[stage(16, 1), stage(16, 1), stage(32, 2), stage(64, 4)],
    head: not_foldable(LINEAR),
    normalisation: DISTILLER_CIFAR10,
    unused: &[],
};

/// Every registered model.
pub static MODELS: &[ModelEntry] = &[
    row(
        &RESNET,
        "resnet8",
        |k| ModelConfig::CifarResnet(ResNet::resnet8(k)),
        (83_892, 56, 12_507_392),
        &[],
    ),
    row(
        &RESNET,
        "resnet14",
        |k| ModelConfig::CifarResnet(ResNet::resnet14(k)),
        (181_108, 92, 26_663_168),
        &[],
    ),
    row(
        &RESNET,
        "resnet20",
        |k| ModelConfig::CifarResnet(ResNet::resnet20(k)),
        (278_324, 128, 40_818_944),
        &[],
    ),
    row(
        &RESNET,
        "resnet32",
        |k| ModelConfig::CifarResnet(ResNet::resnet32(k)),
        (472_756, 200, 69_130_496),
        &[],
    ),
    row(
        &RESNET,
        "resnet44",
        |k| ModelConfig::CifarResnet(ResNet::resnet44(k)),
        (667_188, 272, 97_442_048),
        &[],
    ),
    row(
        &RESNET,
        "resnet56",
        |k| ModelConfig::CifarResnet(ResNet::resnet56(k)),
        (861_620, 344, 125_753_600),
        &[],
    ),
    row(
        &RESNET,
        "resnet110",
        |k| ModelConfig::CifarResnet(ResNet::resnet110(k)),
        (1_736_564, 668, 253_155_584),
        &[],
    ),
    row(
        &RESNET_X4,
        "resnet8x4",
        |k| ModelConfig::CifarResnet(ResNet::resnet8x4(k)),
        (1_233_540, 62, 177_071_104),
        &[],
    ),
    row(
        &RESNET_X4,
        "resnet32x4",
        |k| ModelConfig::CifarResnet(ResNet::resnet32x4(k)),
        (7_433_860, 206, 1_083_040_768),
        &[],
    ),
    row(
        &RESNET18,
        "cifar_resnet18",
        |k| ModelConfig::CifarResnetV2(ResNetV2::resnet18(k)),
        (11_220_132, 122, 555_468_800),
        &[],
    ),
    row(
        &RESNET50,
        "cifar_resnet50",
        |k| ModelConfig::CifarResnetV2(ResNetV2::resnet50(k)),
        (23_705_252, 320, 1_298_014_208),
        &[],
    ),
    row(
        &WRN_1,
        "wrn_16_1",
        |k| ModelConfig::WideResnet(WideResNet::wrn_16_1(k)),
        (180_916, 82, 26_663_168),
        &[],
    ),
    row(
        &WRN_2,
        "wrn_16_2",
        |k| ModelConfig::WideResnet(WideResNet::wrn_16_2(k)),
        (703_284, 83, 101_118_464),
        &[],
    ),
    row(
        &WRN_1,
        "wrn_40_1",
        |k| ModelConfig::WideResnet(WideResNet::wrn_40_1(k)),
        (569_780, 226, 83_286_272),
        &[],
    ),
    row(
        &WRN_2,
        "wrn_40_2",
        |k| ModelConfig::WideResnet(WideResNet::wrn_40_2(k)),
        (2_255_156, 227, 327_610_880),
        &[],
    ),
    row(
        &VGG,
        "vgg8",
        |k| ModelConfig::Vgg(Vgg::vgg8(k)),
        (3_965_028, 37, 96_192_512),
        &[],
    ),
    row(
        &VGG,
        "vgg11",
        |k| ModelConfig::Vgg(Vgg::vgg11(k)),
        (9_277_284, 58, 209_438_720),
        &[],
    ),
    row(
        &VGG,
        "vgg13",
        |k| ModelConfig::Vgg(Vgg::vgg13(k)),
        (9_462_180, 72, 284_936_192),
        &[],
    ),
    row(
        &VGG,
        "vgg16",
        |k| ModelConfig::Vgg(Vgg::vgg16(k)),
        (14_774_436, 93, 398_182_400),
        &[],
    ),
    row(
        &VGG,
        "vgg19",
        |k| ModelConfig::Vgg(Vgg::vgg19(k)),
        (20_086_692, 114, 511_428_608),
        &[],
    ),
    row(
        &MOBILENET_V2,
        "cifar_mobilenetv2",
        |k| ModelConfig::MobilenetV2(MobileNetV2::half(k)),
        (812_836, 320, 6_523_648),
        &[],
    ),
    row(
        &SHUFFLENET_V1,
        "cifar_shufflenetv1",
        |k| ModelConfig::ShufflenetV1(ShuffleNetV1::three_groups(k)),
        (949_258, 296, 38_691_456),
        &[],
    ),
    row(
        &SHUFFLENET_V2,
        "cifar_shufflenetv2",
        |k| ModelConfig::ShufflenetV2(ShuffleNetV2::x1_0(k)),
        (1_355_528, 338, 44_504_448),
        &[],
    ),
    row(
        &AKAMASTER,
        "akamaster_resnet20",
        |k| ModelConfig::AkamasterResnet(Akamaster::resnet20(k)),
        (269_722, 116, 40_551_040),
        weights::AKAMASTER_RESNET20,
    ),
    row(
        &AKAMASTER,
        "akamaster_resnet32",
        |k| ModelConfig::AkamasterResnet(Akamaster::resnet32(k)),
        (464_154, 188, 68_862_592),
        weights::AKAMASTER_RESNET32,
    ),
    row(
        &AKAMASTER,
        "akamaster_resnet44",
        |k| ModelConfig::AkamasterResnet(Akamaster::resnet44(k)),
        (658_586, 260, 97_174_144),
        weights::AKAMASTER_RESNET44,
    ),
    row(
        &AKAMASTER,
        "akamaster_resnet56",
        |k| ModelConfig::AkamasterResnet(Akamaster::resnet56(k)),
        (853_018, 332, 125_485_696),
        weights::AKAMASTER_RESNET56,
    ),
    row(
        &DISTILLER,
        "distiller_resnet8",
        |k| ModelConfig::DistillerResnet(Distiller::resnet8(k)),
        (112_452, 62, 21_980_160),
        weights::DISTILLER_RESNET8,
    ),
    row(
        &DISTILLER,
        "distiller_resnet14",
        |k| ModelConfig::DistillerResnet(Distiller::resnet14(k)),
        (209_668, 98, 36_135_936),
        weights::DISTILLER_RESNET14,
    ),
    row(
        &DISTILLER,
        "distiller_resnet20",
        |k| ModelConfig::DistillerResnet(Distiller::resnet20(k)),
        (306_884, 134, 50_291_712),
        weights::DISTILLER_RESNET20,
    ),
    row(
        &DISTILLER,
        "distiller_resnet26",
        |k| ModelConfig::DistillerResnet(Distiller::resnet26(k)),
        (404_100, 170, 64_447_488),
        weights::DISTILLER_RESNET26,
    ),
    row(
        &DISTILLER,
        "distiller_resnet32",
        |k| ModelConfig::DistillerResnet(Distiller::resnet32(k)),
        (501_316, 206, 78_603_264),
        weights::DISTILLER_RESNET32,
    ),
    row(
        &DISTILLER_WRN,
        "distiller_wrn_10_1",
        |k| ModelConfig::WideResnet(WideResNet::distiller_wrn_10_1(k)),
        (77_850, 46, 12_501_632),
        weights::DISTILLER_WRN_10_1,
    ),
    row(
        &DISTILLER_WRN,
        "distiller_wrn_16_1",
        |k| ModelConfig::WideResnet(WideResNet::distiller_wrn_16_1(k)),
        (175_066, 82, 26_657_408),
        weights::DISTILLER_WRN_16_1,
    ),
];
