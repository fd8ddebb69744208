//! Agreement first, then bursts of ours and the peer's in turn.

use crate::agreement;
use crate::case::{Case, Mode};
use crate::clock::{Quantiles, burst, time};
use crate::peer::{Peer, Provider};
use crate::roofs::Roofs;
use crate::row::{Machine, Row};
use anyhow::Context;
use candle_core::{DType, Device, Tensor};
use std::time::Duration;

/// How long to measure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Turns that each provider gets.
    pub rounds: usize,
    /// How long a turn lasts.
    pub burst: Duration,
}

/// Times one case in all its modes, ours and the peer's in alternation.
///
/// Before that, ours must agree with every way of the peer, or without a peer with our own `f64`
/// specification. A way of the peer that fails (a compiler that is not there) is left out, with a `remark`.
///
/// # Errors
/// If results do not agree, or our operator fails.
pub fn run(
    case: &Case,
    settings: &Settings,
    machine: &Machine,
    roofs: &Roofs,
    device: &Device,
    mut peer: Option<&mut Peer>,
    remark: &mut dyn FnMut(&str),
) -> anyhow::Result<Vec<Row>> {
    let label = format!("{} {}", case.kernel, case.size);
    let providers = agree(case, device, peer.as_deref_mut(), remark).context(label.clone())?;
    let tensors = |tracked| case.arguments(DType::F32, device, tracked);
    let (plain, tracked) = (tensors(false)?, tensors(case.differentiable())?);
    let mut rows = Vec::new();
    for &mode in case.modes {
        let arguments = if mode == Mode::Forward {
            &plain
        } else {
            &tracked
        };
        let mut ours = Vec::new();
        let mut theirs = vec![Vec::new(); providers.len()];
        for _ in 0..settings.rounds {
            ours.extend(
                our_burst(case, mode, arguments, device, settings.burst).context(label.clone())?,
            );
            let Some(peer) = peer.as_deref_mut() else {
                continue;
            };
            for (provider, times) in providers.iter().zip(&mut theirs) {
                times.extend(
                    peer.burst(&provider.name, mode, settings.burst)
                        .context(label.clone())?,
                );
            }
        }
        let row = |times| {
            let times = Quantiles::of(times)?;
            Some(machine.row(
                case.kernel,
                mode,
                case.size.clone(),
                case.work(mode),
                times,
                roofs,
            ))
        };
        let ours = row(ours).context("nothing was measured")?;
        let median = ours.median;
        rows.push(ours);
        for (provider, times) in providers.iter().zip(theirs) {
            rows.extend(row(times).map(|row| Row {
                provider: provider.name.clone(),
                version: provider.version.clone(),
                ratio: Some(median / row.median),
                ..row
            }));
        }
    }
    Ok(rows)
}

/// The peer's ways that computed the case as we do.
fn agree(
    case: &Case,
    device: &Device,
    peer: Option<&mut Peer>,
    remark: &mut dyn FnMut(&str),
) -> anyhow::Result<Vec<Provider>> {
    let (ours, upstream) = case.results(DType::F32, device)?;
    let mut agreed = Vec::new();
    if let Some(peer) = peer {
        for provider in peer.prepare(case)? {
            let theirs = match peer.results(&provider.name, &upstream) {
                Ok(theirs) => theirs,
                Err(error) => {
                    remark(&format!(
                        "{} {}: without {}: {error:#}",
                        case.kernel, case.size, provider.name
                    ));
                    continue;
                }
            };
            agreement::check(&case.result_names(), &ours, &theirs, case.tolerance)
                .with_context(|| provider.name.clone())?;
            agreed.push(provider);
        }
    }
    if agreed.is_empty() {
        let (specification, _) = case.results(DType::F64, &Device::Cpu)?;
        agreement::check(&case.result_names(), &ours, &specification, case.tolerance)
            .context("our f64 specification")?;
    }
    Ok(agreed)
}

fn our_burst(
    case: &Case,
    mode: Mode,
    arguments: &[Tensor],
    device: &Device,
    budget: Duration,
) -> candle_core::Result<Vec<f64>> {
    let call = || (case.call)(arguments);
    burst(budget, || {
        // Results are dropped after the clock has stopped, as the peer does.
        Ok(match mode {
            Mode::Forward => time(device, call)?.1,
            Mode::Backward => {
                let result = call()?;
                device.synchronize()?;
                time(device, || result.backward())?.1
            }
            Mode::ForwardBackward => {
                time(device, || {
                    let result = call()?;
                    let gradients = result.backward()?;
                    Ok((result, gradients))
                })?
                .1
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::{Settings, run};
    use crate::cases;
    use crate::roofs::Roofs;
    use crate::row::Machine;
    use candle_core::{Device, Tensor};
    use std::time::Duration;

    const QUICK: Settings = Settings {
        rounds: 1,
        burst: Duration::ZERO,
    };
    const ROOFS: Roofs = Roofs {
        bytes: 1e9,
        flops: 1e9,
    };

    fn machine() -> Machine {
        Machine {
            device: "test".into(),
            threads: 1,
        }
    }

    #[test]
    fn a_case_gives_one_row_a_mode_by_the_roofs() {
        let all = cases();
        let case = all
            .iter()
            .find(|case| case.kernel == "log_softmax")
            .unwrap();
        let rows = run(
            case,
            &QUICK,
            &machine(),
            &ROOFS,
            &Device::Cpu,
            None,
            &mut |_| (),
        )
        .unwrap();
        let modes: Vec<_> = rows.iter().map(|row| row.mode.name()).collect();
        assert_eq!(modes, ["forward", "backward", "forward_backward"]);
        for row in &rows {
            let least = 1e3 * (row.bytes / ROOFS.bytes).max(row.flops / ROOFS.flops);
            assert!((row.fraction_of_peak - least / row.median).abs() < 1e-9);
            assert_eq!(row.bound, "compute");
        }
    }

    #[test]
    fn a_wrong_operator_is_not_timed() {
        let mut all = cases();
        let case = all.iter_mut().find(|case| case.kernel == "relu").unwrap();
        // The identity has relu's shape, and another result.
        case.call = Box::new(|a: &[Tensor]| {
            if a[0].dtype() == candle_core::DType::F32 {
                a[0].affine(1.0, 0.0)
            } else {
                taper_kernels::relu(&a[0])
            }
        });
        let error = run(
            case,
            &QUICK,
            &machine(),
            &ROOFS,
            &Device::Cpu,
            None,
            &mut |_| (),
        );
        let message = format!("{:#}", error.unwrap_err());
        assert!(
            message.contains("relu") && message.contains("result does not agree"),
            "{message}"
        );
    }
}
