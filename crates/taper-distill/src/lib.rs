//! Knowledge distillation: KD and NORM
