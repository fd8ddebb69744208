//! The catch-up objective against its method card.

mod losses;
mod settings;
mod states;

use super::{CatchUpConfig, Stages};

fn config(order: usize, stage_rule: Stages) -> CatchUpConfig {
    CatchUpConfig {
        order,
        stage_rule,
        ..CatchUpConfig::default()
    }
}

const RULES: [Stages; 2] = [Stages::Paper, Stages::Corrected];
