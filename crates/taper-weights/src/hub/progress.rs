//! What a download tells while it goes on.

/// One piece of news; called on the thread that downloads, so it must not block.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A transfer starts; `have` bytes lie on disk from an earlier one.
    Start {
        /// File name.
        file: String,
        /// Bytes that need not come again.
        have: u64,
        /// Bytes of the whole file, where the server tells.
        total: Option<u64>,
    },
    /// Bytes on disk so far.
    Bytes {
        /// So many.
        done: u64,
    },
    /// The transfer is over and verified.
    Done,
    /// Something that a person should know: a repetition, a restart, a wait, a cached copy.
    Note(String),
}

/// Receives the news.
pub type Progress<'a> = &'a mut dyn FnMut(Event);
