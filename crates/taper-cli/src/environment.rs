//! Settings that must stand in the environment before the first allocation and the first thread.

use crate::args::Global;

/// Marks a process that has been started anew, so that it happens once.
const PREPARED: &str = "TAPER_PREPARED";

/// Starts the program anew, in the same process, with the environment that training wants:
/// the allocator keeps its pages (measured: a ResNet-20 step without page faults), Candle's
/// element-wise pool stays out of the way of the kernels' own, and Candle's matrix products use
/// as many threads as asked for. Whatever the user has set stays. Where that fails, the program
/// goes on as it is, only slower.
pub fn prepare(global: &Global) {
    if std::env::var_os(PREPARED).is_some() {
        return;
    }
    #[cfg(unix)]
    {
        use std::os::unix::process::CommandExt;
        let threads = global.thread_count().to_string();
        let wanted = [
            ("MIMALLOC_PURGE_DELAY", "-1"),
            ("CANDLE_NUM_THREADS", "1"),
            ("RAYON_NUM_THREADS", threads.as_str()),
        ];
        let Ok(program) = std::env::current_exe() else {
            return;
        };
        let mut command = std::process::Command::new(program);
        command.args(std::env::args_os().skip(1)).env(PREPARED, "1");
        for (name, value) in wanted {
            if std::env::var_os(name).is_none() {
                command.env(name, value);
            }
        }
        // Returns only when it fails.
        let _ = command.exec();
    }
}
