//! `taper doctor`: what this program and machine can do.

use crate::Status;
use crate::args::Global;
use crate::output::Output;
use serde::Serialize;
use std::collections::BTreeMap;

#[derive(Debug, Serialize)]
struct Report {
    version: &'static str,
    target: String,
    cpu_features: Vec<&'static str>,
    cores: usize,
    threads: usize,
    exact_kernels: bool,
    allocator: &'static str,
    cuda: String,
    cuda_driver: Option<String>,
    cuda_libraries: BTreeMap<&'static str, bool>,
    gpus: Vec<Gpu>,
    environment: Vec<(String, String)>,
}

#[derive(Debug, Serialize)]
struct Gpu {
    name: String,
    compute_capability: String,
}

pub fn execute(global: &Global, output: &Output) -> anyhow::Result<Status> {
    let found = taper::kernels::cuda_report();
    let pair = |(major, minor): (i32, i32)| format!("{major}.{minor}");
    let report = Report {
        version: env!("CARGO_PKG_VERSION"),
        target: format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
        cpu_features: cpu_features(),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        threads: global.thread_count(),
        exact_kernels: taper::kernels::exact(),
        allocator: "mimalloc",
        cuda: match &found.compiled {
            None => "not compiled in".to_string(),
            Some(compiled) => format!(
                "compiled with toolkit {}, kernels for compute capability {} and later, Candle's for {}",
                compiled.toolkit, compiled.kernels, compiled.candle
            ),
        },
        cuda_driver: found.driver.map(pair),
        cuda_libraries: found.libraries.into_iter().collect(),
        gpus: found
            .devices
            .into_iter()
            .map(|gpu| Gpu {
                name: gpu.name,
                compute_capability: pair(gpu.compute_capability),
            })
            .collect(),
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
    if report.cuda != "not compiled in" {
        lines.push(match &report.cuda_driver {
            Some(version) => format!("CUDA driver  for CUDA {version}"),
            None => "CUDA driver  none: computes on the CPU".to_string(),
        });
        for (library, found) in &report.cuda_libraries {
            let found = if *found { "found" } else { "missing" };
            lines.push(format!("library      {library}: {found}"));
        }
        for (index, gpu) in report.gpus.iter().enumerate() {
            let (name, capability) = (&gpu.name, &gpu.compute_capability);
            lines.push(format!(
                "GPU {index}        {name}, compute capability {capability}"
            ));
        }
    }
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
