//! The bar of a verb that writes a file; Ctrl-C stops it before the file gets its name.

use crate::download::DownloadBar;
use crate::interrupt;
use crate::output::Output;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use taper::weights::hub::{Event, HubSettings};

/// Shows what is written.
pub struct WriteBar {
    bar: DownloadBar,
    name: String,
    started: bool,
    stop: Arc<AtomicBool>,
}

impl WriteBar {
    pub fn new(path: &Path, output: &Output) -> anyhow::Result<Self> {
        let numbers = HubSettings::from_environment().progress_bars;
        Ok(Self {
            bar: DownloadBar::new(output, numbers),
            name: path.display().to_string(),
            started: false,
            stop: interrupt::flag()?,
        })
    }

    /// `done` of `total` bytes.
    pub fn tell(&mut self, done: u64, total: u64) -> ControlFlow<()> {
        if !self.started {
            self.started = true;
            self.bar.tell(Event::Start {
                file: self.name.clone(),
                have: 0,
                total: Some(total),
            });
        }
        self.bar.tell(match done == total {
            true => Event::Done,
            false => Event::Bytes { done },
        });
        match self.interrupted() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }

    /// Whether Ctrl-C was pressed.
    pub fn interrupted(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }
}
