//! `taper doctor`: what this program and machine can do.

use crate::Status;
use crate::args::Global;
use crate::output::Output;
use serde::Serialize;

#[derive(Debug, Serialize)]
struct Report {
    version: &'static str,
    target: String,
    cpu_features: Vec<&'static str>,
    cores: usize,
    threads: usize,
    exact_kernels: bool,
    allocator: &'static str,
    cuda: &'static str,
    environment: Vec<(String, String)>,
}

pub fn execute(global: &Global, output: &Output) -> anyhow::Result<Status> {
    let report = Report {
        version: env!("CARGO_PKG_VERSION"),
        target: format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
        cpu_features: cpu_features(),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        threads: global.thread_count(),
        exact_kernels: taper::kernels::exact(),
        allocator: "mimalloc",
        cuda: "not compiled in",
        environment: [
            "MIMALLOC_PURGE_DELAY",
            "CANDLE_NUM_THREADS",
            "RAYON_NUM_THREADS",
            "TAPER_DATA",
        ]
        .into_iter()
        .filter_map(|name| Some((name.to_string(), std::env::var(name).ok()?)))
        .collect(),
    };
    output.answer(&report, || describe(&report))?;
    Ok(Status::Done)
}

fn describe(report: &Report) -> String {
    let features = if report.cpu_features.is_empty() {
        "none known: the portable kernels run".to_string()
    } else {
        report.cpu_features.join(", ")
    };
    let mut lines = vec![
        format!("taper        {} for {}", report.version, report.target),
        format!("processor    {} cores; uses {features}", report.cores),
        format!("threads      {}", report.threads),
        format!("allocator    {}", report.allocator),
        format!("CUDA         {}", report.cuda),
    ];
    for (name, value) in &report.environment {
        lines.push(format!("environment  {name}={value}"));
    }
    lines.join("\n")
}

/// The vector extensions that kernels choose between, as found on this machine.
fn cpu_features() -> Vec<&'static str> {
    #[cfg(target_arch = "x86_64")]
    {
        let found = [
            ("avx512f", std::arch::is_x86_feature_detected!("avx512f")),
            ("avx512vl", std::arch::is_x86_feature_detected!("avx512vl")),
            ("avx2", std::arch::is_x86_feature_detected!("avx2")),
            ("fma", std::arch::is_x86_feature_detected!("fma")),
        ];
        found
            .into_iter()
            .filter_map(|(name, has)| has.then_some(name))
            .collect()
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        Vec::new()
    }
}
