"""EfficientNetV2: the released B0 to B3, S, M, L and XL, and the S of the paper's first version.

The first version of the paper draws S with 272 channels in stage 6 and a head of 1792 (24M parameters); the released S
has 256 and 1280. timm's ``efficientnetv2_rw_s`` is near the first, not equal: its stage 1 keeps the 1×1 projection
behind each Fused-MBConv1, 1,248 parameters more in two blocks, so its accuracies are not listed here. The first version
also counts M and L larger (55M, 121M) than the release does, and the release's own L, 119.5M, is 1M above what its
code, timm and torchvision build. The paper's rows are listed at the release's test sizes. XL's 208M come from a
summary of the paper's third version, not from its PDF.

The authors' weights (timm's ``tf_`` names) need ``build(..., padding="same")``.
"""

from .architecture import parse
from .catalog_entry import CatalogEntry, published, timm_evaluated, torchvision_trained

PAPER_V1 = "arXiv:2104.00298v1 Table 7"
PAPER_V3 = "arXiv:2104.00298v3"
README = "google/automl 25907c2 efficientnetv2/README.md"

EFFICIENTNET_V2: tuple[CatalogEntry, ...] = (
    CatalogEntry(
        name="efficientnetv2-b0",
        architecture=parse(
            "stem32-er_r1_k3_s1_e1_c16-er_r2_k3_s2_e4_c32-er_r2_k3_s2_e4_c48-ir_r3_k3_s2_e4_c96_se0.25-"
            "ir_r5_k3_s1_e6_c112_se0.25-ir_r8_k3_s2_e6_c192_se0.25-head1280@192"
        ),
        test_size=224,
        params=7_139_704,
        published_params_m=7.1,
        published_macs_b=0.72,
        source=README,
        accuracies=(
            published("imagenet-1k", 224, 0.787, README),
            timm_evaluated("tf_efficientnetv2_b0.in1k", 192, 0.76876),
            timm_evaluated("tf_efficientnetv2_b0.in1k", 224, 0.78386),
        ),
    ),
    CatalogEntry(
        name="efficientnetv2-b1",
        architecture=parse(
            "stem32-er_r2_k3_s1_e1_c16-er_r3_k3_s2_e4_c32-er_r3_k3_s2_e4_c48-ir_r4_k3_s2_e4_c96_se0.25-"
            "ir_r6_k3_s1_e6_c112_se0.25-ir_r9_k3_s2_e6_c192_se0.25-head1280@192"
        ),
        test_size=240,
        params=8_141_052,
        published_params_m=8.1,
        published_macs_b=1.2,
        source=README,
        accuracies=(
            published("imagenet-1k", 240, 0.798, README),
            timm_evaluated("tf_efficientnetv2_b1.in1k", 192, 0.77934),
            timm_evaluated("tf_efficientnetv2_b1.in1k", 240, 0.79518),
        ),
    ),
    CatalogEntry(
        name="efficientnetv2-b2",
        architecture=parse(
            "stem32-er_r2_k3_s1_e1_c16-er_r3_k3_s2_e4_c32-er_r3_k3_s2_e4_c56-ir_r4_k3_s2_e4_c104_se0.25-"
            "ir_r6_k3_s1_e6_c120_se0.25-ir_r10_k3_s2_e6_c208_se0.25-head1408@208"
        ),
        test_size=260,
        params=10_096_086,
        published_params_m=10.1,
        published_macs_b=1.7,
        source=README,
        accuracies=(
            published("imagenet-1k", 260, 0.805, README),
            timm_evaluated("tf_efficientnetv2_b2.in1k", 208, 0.79208),
            timm_evaluated("tf_efficientnetv2_b2.in1k", 260, 0.80226),
        ),
    ),
    CatalogEntry(
        name="efficientnetv2-b3",
        architecture=parse(
            "stem40-er_r2_k3_s1_e1_c16-er_r3_k3_s2_e4_c40-er_r3_k3_s2_e4_c56-ir_r5_k3_s2_e4_c112_se0.25-"
            "ir_r7_k3_s1_e6_c136_se0.25-ir_r12_k3_s2_e6_c232_se0.25-head1536@240"
        ),
        test_size=300,
        params=14_358_406,
        published_params_m=14.4,
        published_macs_b=3.0,
        source=README,
        accuracies=(
            published("imagenet-1k", 300, 0.821, README),
            timm_evaluated("tf_efficientnetv2_b3.in1k", 240, 0.80708),
            timm_evaluated("tf_efficientnetv2_b3.in1k", 300, 0.8196),
            timm_evaluated("tf_efficientnetv2_b3.in21k_ft_in1k", 240, 0.81078),
            timm_evaluated("tf_efficientnetv2_b3.in21k_ft_in1k", 300, 0.82634),
        ),
    ),
    CatalogEntry(
        name="efficientnetv2-s",
        architecture=parse(
            "stem24-er_r2_k3_s1_e1_c24-er_r4_k3_s2_e4_c48-er_r4_k3_s2_e4_c64-ir_r6_k3_s2_e4_c128_se0.25-"
            "ir_r9_k3_s1_e6_c160_se0.25-ir_r15_k3_s2_e6_c256_se0.25-head1280@300"
        ),
        test_size=384,
        params=21_458_488,
        published_params_m=21.5,
        published_macs_b=8.4,
        source=README,
        accuracies=(
            published("imagenet-1k", 384, 0.839, README),
            published("imagenet-21k", 384, 0.849, README),
            timm_evaluated("tf_efficientnetv2_s.in1k", 300, 0.83162),
            timm_evaluated("tf_efficientnetv2_s.in1k", 384, 0.839),
            timm_evaluated("tf_efficientnetv2_s.in21k_ft_in1k", 300, 0.83348),
            timm_evaluated("tf_efficientnetv2_s.in21k_ft_in1k", 384, 0.84332),
            torchvision_trained("EfficientNet_V2_S_Weights.IMAGENET1K_V1", 384, 0.84228),
        ),
    ),
    CatalogEntry(
        name="efficientnetv2-m",
        architecture=parse(
            "stem24-er_r3_k3_s1_e1_c24-er_r5_k3_s2_e4_c48-er_r5_k3_s2_e4_c80-ir_r7_k3_s2_e4_c160_se0.25-"
            "ir_r14_k3_s1_e6_c176_se0.25-ir_r18_k3_s2_e6_c304_se0.25-ir_r5_k3_s1_e6_c512_se0.25-head1280@384"
        ),
        test_size=480,
        params=54_139_356,
        published_params_m=54.1,
        published_macs_b=24.7,
        source=README,
        accuracies=(
            published("imagenet-1k", 480, 0.852, README),
            published("imagenet-21k", 480, 0.862, README),
            published("imagenet-1k", 480, 0.851, PAPER_V1),
            published("imagenet-21k", 480, 0.861, PAPER_V1),
            timm_evaluated("tf_efficientnetv2_m.in1k", 384, 0.84554),
            timm_evaluated("tf_efficientnetv2_m.in1k", 480, 0.85208),
            timm_evaluated("tf_efficientnetv2_m.in21k_ft_in1k", 384, 0.84768),
            timm_evaluated("tf_efficientnetv2_m.in21k_ft_in1k", 480, 0.86014),
            torchvision_trained("EfficientNet_V2_M_Weights.IMAGENET1K_V1", 480, 0.85112),
        ),
    ),
    CatalogEntry(
        name="efficientnetv2-l",
        architecture=parse(
            "stem32-er_r4_k3_s1_e1_c32-er_r7_k3_s2_e4_c64-er_r7_k3_s2_e4_c96-ir_r10_k3_s2_e4_c192_se0.25-"
            "ir_r19_k3_s1_e6_c224_se0.25-ir_r25_k3_s2_e6_c384_se0.25-ir_r7_k3_s1_e6_c640_se0.25-head1280@384"
        ),
        test_size=480,
        params=118_515_272,
        published_params_m=119.5,
        published_macs_b=56.3,
        source=README,
        accuracies=(
            published("imagenet-1k", 480, 0.857, README),
            published("imagenet-21k", 480, 0.869, README),
            published("imagenet-1k", 480, 0.857, PAPER_V1),
            published("imagenet-21k", 480, 0.868, PAPER_V1),
            timm_evaluated("tf_efficientnetv2_l.in1k", 384, 0.85202),
            timm_evaluated("tf_efficientnetv2_l.in1k", 480, 0.8566),
            timm_evaluated("tf_efficientnetv2_l.in21k_ft_in1k", 384, 0.85846),
            timm_evaluated("tf_efficientnetv2_l.in21k_ft_in1k", 480, 0.86802),
        ),
    ),
    CatalogEntry(
        name="efficientnetv2-xl",
        architecture=parse(
            "stem32-er_r4_k3_s1_e1_c32-er_r8_k3_s2_e4_c64-er_r8_k3_s2_e4_c96-ir_r16_k3_s2_e4_c192_se0.25-"
            "ir_r24_k3_s1_e6_c256_se0.25-ir_r32_k3_s2_e6_c512_se0.25-ir_r8_k3_s1_e6_c640_se0.25-head1280@384"
        ),
        test_size=512,
        params=208_119_808,
        published_params_m=208,
        published_macs_b=None,
        source=PAPER_V3,
        accuracies=(
            published("imagenet-21k", 512, 0.872, README),
            published("imagenet-21k", 512, 0.873, PAPER_V3),
            timm_evaluated("tf_efficientnetv2_xl.in21k_ft_in1k", 384, 0.85562),
            timm_evaluated("tf_efficientnetv2_xl.in21k_ft_in1k", 512, 0.86754),
        ),
    ),
    CatalogEntry(
        name="efficientnetv2-s-v1",
        architecture=parse(
            "stem24-er_r2_k3_s1_e1_c24-er_r4_k3_s2_e4_c48-er_r4_k3_s2_e4_c64-ir_r6_k3_s2_e4_c128_se0.25-"
            "ir_r9_k3_s1_e6_c160_se0.25-ir_r15_k3_s2_e6_c272_se0.25-head1792@300"
        ),
        test_size=384,
        params=23_940_048,
        published_params_m=24,
        published_macs_b=8.8,
        source=PAPER_V1,
        accuracies=(
            published("imagenet-1k", 384, 0.839, PAPER_V1),
            published("imagenet-21k", 384, 0.85, PAPER_V1),
        ),
    ),
)
