//! Recognisers of ESPnet: WeNet's names without the feature normalisation (the recogniser's method
//! card, section 8.3).

use super::{Dialect, Network, wenet};

pub(super) const DIALECT: Dialect = Dialect {
    name: "espnet",
    about: "espnet/espnet",
    prefix: "",
    remark: Some(
        "ESPnet keeps mean and deviation of the features in a file of their own (cmvn.ark, feats_stats.npz), \
         and its newer attention shifts relative positions",
    ),
    networks: &[Network {
        name: "conformer",
        rules: wenet::recogniser,
        dropped: wenet::DROPPED,
    }],
};
