"""EfficientNet B0 to B8 and L2: all MBConv with squeeze-and-excitation.

The authors' weights (timm's ``tf_`` names) need ``build(..., padding="same")``. L2's sizes are Noisy Student's: trained
at 475 pixels, fine-tuned and tested at 800. B8's size is that of the authors' code; its published parameters and the
multiply-adds of both were not found, so they are left open.
"""

from .architecture import parse
from .catalog_entry import CatalogEntry, published, timm_evaluated, torchvision_trained

V1_PAPER = "arXiv:1905.11946v5 Table 2"
ADVPROP = "arXiv:1911.09665 abstract"
NOISY_STUDENT = "arXiv:1911.04252"

EFFICIENTNET: tuple[CatalogEntry, ...] = (
    CatalogEntry(
        name="efficientnet-b0",
        architecture=parse(
            "stem32-ir_r1_k3_s1_e1_c16_se0.25-ir_r2_k3_s2_e6_c24_se0.25-ir_r2_k5_s2_e6_c40_se0.25-"
            "ir_r3_k3_s2_e6_c80_se0.25-ir_r3_k5_s1_e6_c112_se0.25-ir_r4_k5_s2_e6_c192_se0.25-"
            "ir_r1_k3_s1_e6_c320_se0.25-head1280@224"
        ),
        test_size=224,
        params=5_288_548,
        published_params_m=5.3,
        published_macs_b=0.39,
        source=V1_PAPER,
        accuracies=(
            published("autoaugment", 224, 0.771, V1_PAPER),
            timm_evaluated("tf_efficientnet_b0.in1k", 224, 0.76542),
            timm_evaluated("tf_efficientnet_b0.aa_in1k", 224, 0.76882),
            timm_evaluated("tf_efficientnet_b0.ap_in1k", 224, 0.771),
            timm_evaluated("tf_efficientnet_b0.ns_jft_in1k", 224, 0.7868),
            timm_evaluated("efficientnet_b0.ra_in1k", 224, 0.77698),
            timm_evaluated("efficientnet_b0.ra4_e3600_r224_in1k", 224, 0.78568),
            timm_evaluated("efficientnet_b0.ra4_e3600_r224_in1k", 256, 0.79364),
        ),
    ),
    CatalogEntry(
        name="efficientnet-b1",
        architecture=parse(
            "stem32-ir_r2_k3_s1_e1_c16_se0.25-ir_r3_k3_s2_e6_c24_se0.25-ir_r3_k5_s2_e6_c40_se0.25-"
            "ir_r4_k3_s2_e6_c80_se0.25-ir_r4_k5_s1_e6_c112_se0.25-ir_r5_k5_s2_e6_c192_se0.25-"
            "ir_r2_k3_s1_e6_c320_se0.25-head1280@240"
        ),
        test_size=240,
        params=7_794_184,
        published_params_m=7.8,
        published_macs_b=0.7,
        source=V1_PAPER,
        accuracies=(
            published("autoaugment", 240, 0.791, V1_PAPER),
            timm_evaluated("tf_efficientnet_b1.in1k", 240, 0.78546),
            timm_evaluated("tf_efficientnet_b1.aa_in1k", 240, 0.7884),
            timm_evaluated("tf_efficientnet_b1.ap_in1k", 240, 0.79288),
            timm_evaluated("tf_efficientnet_b1.ns_jft_in1k", 240, 0.81388),
            timm_evaluated("efficientnet_b1.ra4_e3600_r240_in1k", 240, 0.80404),
            timm_evaluated("efficientnet_b1.ra4_e3600_r240_in1k", 288, 0.81444),
            timm_evaluated("efficientnet_b1.ft_in1k", 224, 0.77592),
            timm_evaluated("efficientnet_b1.ft_in1k", 256, 0.78806),
            torchvision_trained("EfficientNet_B1_Weights.IMAGENET1K_V2", 240, 0.79838),
        ),
    ),
    CatalogEntry(
        name="efficientnet-b2",
        architecture=parse(
            "stem32-ir_r2_k3_s1_e1_c16_se0.25-ir_r3_k3_s2_e6_c24_se0.25-ir_r3_k5_s2_e6_c48_se0.25-"
            "ir_r4_k3_s2_e6_c88_se0.25-ir_r4_k5_s1_e6_c120_se0.25-ir_r5_k5_s2_e6_c208_se0.25-"
            "ir_r2_k3_s1_e6_c352_se0.25-head1408@260"
        ),
        test_size=260,
        params=9_109_994,
        published_params_m=9.2,
        published_macs_b=1.0,
        source=V1_PAPER,
        accuracies=(
            published("autoaugment", 260, 0.801, V1_PAPER),
            timm_evaluated("tf_efficientnet_b2.in1k", 260, 0.79612),
            timm_evaluated("tf_efficientnet_b2.aa_in1k", 260, 0.80074),
            timm_evaluated("tf_efficientnet_b2.ap_in1k", 260, 0.803),
            timm_evaluated("tf_efficientnet_b2.ns_jft_in1k", 260, 0.82412),
            timm_evaluated("efficientnet_b2.ra_in1k", 256, 0.79324),
            timm_evaluated("efficientnet_b2.ra_in1k", 288, 0.80612),
        ),
    ),
    CatalogEntry(
        name="efficientnet-b3",
        architecture=parse(
            "stem40-ir_r2_k3_s1_e1_c24_se0.25-ir_r3_k3_s2_e6_c32_se0.25-ir_r3_k5_s2_e6_c48_se0.25-"
            "ir_r5_k3_s2_e6_c96_se0.25-ir_r5_k5_s1_e6_c136_se0.25-ir_r6_k5_s2_e6_c232_se0.25-"
            "ir_r2_k3_s1_e6_c384_se0.25-head1536@300"
        ),
        test_size=300,
        params=12_233_232,
        published_params_m=12,
        published_macs_b=1.8,
        source=V1_PAPER,
        accuracies=(
            published("autoaugment", 300, 0.816, V1_PAPER),
            timm_evaluated("tf_efficientnet_b3.in1k", 300, 0.80878),
            timm_evaluated("tf_efficientnet_b3.aa_in1k", 300, 0.81648),
            timm_evaluated("tf_efficientnet_b3.ap_in1k", 300, 0.81842),
            timm_evaluated("tf_efficientnet_b3.ns_jft_in1k", 300, 0.84054),
            timm_evaluated("efficientnet_b3.ra2_in1k", 288, 0.81472),
            timm_evaluated("efficientnet_b3.ra2_in1k", 320, 0.82296),
        ),
    ),
    CatalogEntry(
        name="efficientnet-b4",
        architecture=parse(
            "stem48-ir_r2_k3_s1_e1_c24_se0.25-ir_r4_k3_s2_e6_c32_se0.25-ir_r4_k5_s2_e6_c56_se0.25-"
            "ir_r6_k3_s2_e6_c112_se0.25-ir_r6_k5_s1_e6_c160_se0.25-ir_r8_k5_s2_e6_c272_se0.25-"
            "ir_r2_k3_s1_e6_c448_se0.25-head1792@380"
        ),
        test_size=380,
        params=19_341_616,
        published_params_m=19,
        published_macs_b=4.2,
        source=V1_PAPER,
        accuracies=(
            published("autoaugment", 380, 0.829, V1_PAPER),
            timm_evaluated("tf_efficientnet_b4.in1k", 380, 0.82598),
            timm_evaluated("tf_efficientnet_b4.aa_in1k", 380, 0.8304),
            timm_evaluated("tf_efficientnet_b4.ap_in1k", 380, 0.83246),
            timm_evaluated("tf_efficientnet_b4.ns_jft_in1k", 380, 0.85156),
            timm_evaluated("efficientnet_b4.ra2_in1k", 320, 0.82658),
            timm_evaluated("efficientnet_b4.ra2_in1k", 384, 0.83468),
        ),
    ),
    CatalogEntry(
        name="efficientnet-b5",
        architecture=parse(
            "stem48-ir_r3_k3_s1_e1_c24_se0.25-ir_r5_k3_s2_e6_c40_se0.25-ir_r5_k5_s2_e6_c64_se0.25-"
            "ir_r7_k3_s2_e6_c128_se0.25-ir_r7_k5_s1_e6_c176_se0.25-ir_r9_k5_s2_e6_c304_se0.25-"
            "ir_r3_k3_s1_e6_c512_se0.25-head2048@456"
        ),
        test_size=456,
        params=30_389_784,
        published_params_m=30,
        published_macs_b=9.9,
        source=V1_PAPER,
        accuracies=(
            published("autoaugment", 456, 0.836, V1_PAPER),
            timm_evaluated("tf_efficientnet_b5.in1k", 456, 0.8317),
            timm_evaluated("tf_efficientnet_b5.aa_in1k", 456, 0.83696),
            timm_evaluated("tf_efficientnet_b5.ra_in1k", 456, 0.83834),
            timm_evaluated("tf_efficientnet_b5.ap_in1k", 456, 0.84258),
            timm_evaluated("tf_efficientnet_b5.ns_jft_in1k", 456, 0.86096),
            timm_evaluated("efficientnet_b5.sw_in12k_ft_in1k", 448, 0.85894),
        ),
    ),
    CatalogEntry(
        name="efficientnet-b6",
        architecture=parse(
            "stem56-ir_r3_k3_s1_e1_c32_se0.25-ir_r6_k3_s2_e6_c40_se0.25-ir_r6_k5_s2_e6_c72_se0.25-"
            "ir_r8_k3_s2_e6_c144_se0.25-ir_r8_k5_s1_e6_c200_se0.25-ir_r11_k5_s2_e6_c344_se0.25-"
            "ir_r3_k3_s1_e6_c576_se0.25-head2304@528"
        ),
        test_size=528,
        params=43_040_704,
        published_params_m=43,
        published_macs_b=19,
        source=V1_PAPER,
        accuracies=(
            published("autoaugment", 528, 0.84, V1_PAPER),
            timm_evaluated("tf_efficientnet_b6.aa_in1k", 528, 0.84124),
            timm_evaluated("tf_efficientnet_b6.ap_in1k", 528, 0.84794),
            timm_evaluated("tf_efficientnet_b6.ns_jft_in1k", 528, 0.86476),
        ),
    ),
    CatalogEntry(
        name="efficientnet-b7",
        architecture=parse(
            "stem64-ir_r4_k3_s1_e1_c32_se0.25-ir_r7_k3_s2_e6_c48_se0.25-ir_r7_k5_s2_e6_c80_se0.25-"
            "ir_r10_k3_s2_e6_c160_se0.25-ir_r10_k5_s1_e6_c224_se0.25-ir_r13_k5_s2_e6_c384_se0.25-"
            "ir_r4_k3_s1_e6_c640_se0.25-head2560@600"
        ),
        test_size=600,
        params=66_347_960,
        published_params_m=66,
        published_macs_b=37,
        source=V1_PAPER,
        accuracies=(
            published("autoaugment", 600, 0.843, V1_PAPER),
            timm_evaluated("tf_efficientnet_b7.aa_in1k", 600, 0.84424),
            timm_evaluated("tf_efficientnet_b7.ra_in1k", 600, 0.84926),
            timm_evaluated("tf_efficientnet_b7.ap_in1k", 600, 0.85132),
            timm_evaluated("tf_efficientnet_b7.ns_jft_in1k", 600, 0.8685),
        ),
    ),
    CatalogEntry(
        name="efficientnet-b8",
        architecture=parse(
            "stem72-ir_r4_k3_s1_e1_c32_se0.25-ir_r8_k3_s2_e6_c56_se0.25-ir_r8_k5_s2_e6_c88_se0.25-"
            "ir_r11_k3_s2_e6_c176_se0.25-ir_r11_k5_s1_e6_c248_se0.25-ir_r15_k5_s2_e6_c424_se0.25-"
            "ir_r4_k3_s1_e6_c704_se0.25-head2816@672"
        ),
        test_size=672,
        params=87_413_142,
        published_params_m=None,
        published_macs_b=None,
        source="tensorflow/tpu efficientnet_builder.py",
        accuracies=(
            published("advprop", 672, 0.855, ADVPROP),
            timm_evaluated("tf_efficientnet_b8.ra_in1k", 672, 0.85344),
            timm_evaluated("tf_efficientnet_b8.ap_in1k", 672, 0.85358),
        ),
    ),
    CatalogEntry(
        name="efficientnet-l2",
        architecture=parse(
            "stem136-ir_r6_k3_s1_e1_c72_se0.25-ir_r11_k3_s2_e6_c104_se0.25-ir_r11_k5_s2_e6_c176_se0.25-"
            "ir_r16_k3_s2_e6_c344_se0.25-ir_r16_k5_s1_e6_c480_se0.25-ir_r22_k5_s2_e6_c824_se0.25-"
            "ir_r6_k3_s1_e6_c1376_se0.25-head5504@475"
        ),
        test_size=800,
        params=480_309_308,
        published_params_m=480,
        published_macs_b=None,
        source=NOISY_STUDENT,
        accuracies=(
            published("noisy-student", 800, 0.884, NOISY_STUDENT),
            timm_evaluated("tf_efficientnet_l2.ns_jft_in1k_475", 475, 0.88246),
            timm_evaluated("tf_efficientnet_l2.ns_jft_in1k", 800, 0.8836),
        ),
    ),
)
