//! What a saved student tells besides its tensors: its configuration and its images' normalisation.

use crate::data::ClassifierData;
use crate::error::DistillError;
use crate::student::Student;
use std::collections::BTreeMap;
use taper_train::TrainError;
use taper_vision::registry::CONFIG_METADATA_KEY;
use taper_weights::{InputNormalisation, NORMALISATION_METADATA_KEY};

/// For the header of `model.safetensors`.
pub(crate) fn model_metadata(
    student: &Student,
    data: &ClassifierData,
) -> Result<BTreeMap<String, String>, DistillError> {
    let normalisation = InputNormalisation {
        mean: data.normalisation().mean.clone(),
        std: data.normalisation().std.clone(),
    };
    let json = |text: serde_json::Result<String>| text.map_err(TrainError::method);
    Ok(BTreeMap::from([
        (
            CONFIG_METADATA_KEY.to_string(),
            json(serde_json::to_string(&student.merged_config()))?,
        ),
        (
            NORMALISATION_METADATA_KEY.to_string(),
            json(serde_json::to_string(&normalisation))?,
        ),
    ]))
}
