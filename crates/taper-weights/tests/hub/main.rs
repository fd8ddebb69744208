//! Downloads end to end, against a hub on loopback that fails on order.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests are tests"
)]
#![cfg(feature = "hub")]

mod addresses;
mod caches;
mod faults;
#[allow(dead_code, reason = "shared with the tests of the program")]
mod server;

use server::Server;
use std::path::{Path, PathBuf};
use taper_weights::hub::{Event, Fetched, Hub, HubError, HubSettings, Options};
use tempfile::TempDir;

/// A fresh cache, and what was told while it was used.
struct Visitor {
    folder: TempDir,
    settings: HubSettings,
    notes: Vec<String>,
    started: Vec<u64>,
}

impl Visitor {
    fn of(server: &Server) -> Self {
        let folder = TempDir::new().unwrap();
        let home = folder.path().to_str().unwrap().to_string();
        let mut settings = HubSettings::from_variables(|name| match name {
            "HF_HOME" => Some(home.clone()),
            "HF_ENDPOINT" => Some(server.endpoint.clone()),
            "HF_TOKEN" => Some("hf_secret".to_string()),
            _ => None,
        });
        settings.attempts = 3;
        settings.pause_milliseconds = 1;
        settings.timeout_seconds = 5;
        Self {
            folder,
            settings,
            notes: Vec::new(),
            started: Vec::new(),
        }
    }

    fn fetch_with(&mut self, spec: &str, options: &Options) -> Result<Fetched, HubError> {
        let hub = Hub::new(self.settings.clone()).unwrap();
        let (notes, started) = (&mut self.notes, &mut self.started);
        hub.fetch(spec, options, &mut |event| match event {
            Event::Note(text) => notes.push(text),
            Event::Start { have, .. } => started.push(have),
            _ => {}
        })
    }

    fn fetch(&mut self, spec: &str) -> Result<Fetched, HubError> {
        self.fetch_with(spec, &Options::default())
    }

    /// Fails, and gives the message.
    fn fails(&mut self, spec: &str) -> String {
        let text = self.fetch(spec).unwrap_err().to_string();
        assert!(text.lines().count() <= 5, "{text}");
        assert!(!text.contains("hf_secret"), "{text}");
        text
    }

    fn repository(&self) -> PathBuf {
        self.folder.path().join("hub/models--owner--net")
    }

    fn blobs(&self) -> Vec<String> {
        names(&self.repository().join("blobs"))
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Bytes that differ from place to place.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1u32;
    (0..length)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect()
}
