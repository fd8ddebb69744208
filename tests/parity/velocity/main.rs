//! The velocity networks against their PyTorch originals, on generated weights.
//!
//! `make_golden.py` ran the originals in f64. Here every network runs in f32 and the small ones in f64 too.

mod golden;

use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device, Tensor};
use golden::{Expected, Golden};
use taper::kernels::threads;
use taper::layers::{ParameterStore, Role};
use taper::velocity::{
    AdmConfig, AdmDialect, Dropout, Labels, Preconditioning, VelocityConfig, registry,
};
use taper_tests::compare::{mean, relative_error, sample, values};
use taper_tests::generate;

/// Answers in f32.
const FORWARD: f64 = 1e-4;
/// Gradients in f32.
const GRADIENT: f64 = 1e-3;
/// Everything in f64.
const EXACT: f64 = 1e-9;
/// Larger networks run in f32 only: the kernels' f64 path is a plain specification.
const PARAMETERS_IN_F64: usize = 4_000_000;
/// And learn only if they are no larger than this.
const PARAMETERS_THAT_LEARN: usize = 40_000_000;

const OUTPUT_SAMPLES: usize = 40;
const GRADIENT_SAMPLES: usize = 12;
/// Convolutions are generated as they are.
const GAIN: f64 = 1.0;

/// The store of generated tensors.
fn store(golden: &Golden, config: &VelocityConfig, dtype: DType) -> Result<ParameterStore> {
    let store = ParameterStore::new(0, &Device::Cpu);
    for info in registry::tensor_list(config)? {
        let values = match registry::is_filter(&info.name) {
            true => vec![0.25; info.shape.iter().product()],
            false => generate::tensor(&info.name, &info.shape, GAIN, golden.seed),
        };
        let tensor = Tensor::from_vec(values, info.shape, &Device::Cpu)?.to_dtype(dtype)?;
        store.insert(&info.name, &tensor)?;
    }
    Ok(store)
}

/// Numbers in [-1.5, 1.5), as the script's `images`.
fn noise(golden: &Golden, name: &str, shape: &[usize], dtype: DType) -> Result<Tensor> {
    let values: Vec<f64> = generate::uniform(name, golden.seed)
        .take(shape.iter().product())
        .map(|u| f64::from((1.5 * u) as f32))
        .collect();
    Ok(Tensor::from_vec(values, shape, &Device::Cpu)?.to_dtype(dtype)?)
}

/// Image channels in and out, classes, width of augmentation labels.
fn form(config: &VelocityConfig) -> Result<(usize, usize, Option<usize>, Option<usize>)> {
    Ok(match config {
        VelocityConfig::SongUnet(c) => (c.inputs, c.outputs, c.classes, c.augment),
        VelocityConfig::Adm(c) => (c.inputs, c.outputs, c.classes, c.augment),
        other => anyhow::bail!("{other:?} reads no images"),
    })
}

fn classes(classes: Option<usize>) -> Result<Option<Tensor>> {
    let class = classes.map(|classes| {
        let classes = [3, 7].map(|class: usize| (class % classes) as u32);
        Tensor::new(&classes, &Device::Cpu)
    });
    Ok(class.transpose()?)
}

/// Samples at even distances and the mean absolute value.
fn summary(tensor: &Tensor, count: usize) -> Result<Vec<f64>> {
    let values = values(tensor)?;
    let mut row = sample(&values, count);
    row.push(mean(&values, f64::abs));
    Ok(row)
}

fn check(
    golden: &Golden,
    (network, array): (&str, &str),
    found: &[Vec<f64>],
    tolerance: f64,
) -> Result<()> {
    let expected = golden.rows(network, array)?;
    ensure!(
        expected.len() == found.len(),
        "{network}: {} rows of {array}",
        found.len()
    );
    for (row, (found, expected)) in found.iter().zip(&expected).enumerate() {
        let error = relative_error(found, expected)
            .with_context(|| format!("{network}: row {row} of {array}"))?;
        ensure!(
            error <= tolerance,
            "{network}: row {row} of {array} is off by {error:.2e}, allowed {tolerance:.0e}"
        );
    }
    Ok(())
}

/// The velocities of the golden batch, without dropout.
fn velocities(
    golden: &Golden,
    expected: &Expected,
    config: &VelocityConfig,
    store: &ParameterStore,
    x: &Tensor,
) -> Result<Vec<Tensor>> {
    let dtype = x.dtype();
    let (_, _, class, augment) = form(config)?;
    let t = Tensor::new(expected.times.as_slice(), &Device::Cpu)?.to_dtype(dtype)?;
    let class = classes(class)?;
    let augment = augment
        .map(|width| noise(golden, "augment", &[golden.batch, width], dtype))
        .transpose()?;
    let labels = Labels {
        class: class.as_ref(),
        augment: augment.as_ref(),
    };
    let vb = store.var_builder(dtype);
    let network = match config {
        VelocityConfig::SongUnet(config) => config.build(vb)?,
        VelocityConfig::Adm(config) => config.build(vb)?,
        other => anyhow::bail!("{other:?} is no U-Net"),
    };
    Ok(network.forward_labelled(x, &t, labels, Dropout::Off)?)
}

/// Answers, and if asked gradients of half the mean square of (velocity − target), summed over the heads.
fn check_network(
    golden: &Golden,
    name: &str,
    dtype: DType,
    learn: bool,
    (forward, gradient): (f64, f64),
) -> Result<()> {
    let expected = &golden.networks[name];
    let config = &expected.config;
    let (inputs, outputs, ..) = form(config)?;
    let (batch, side) = (golden.batch, expected.side);
    let store = store(golden, config, dtype)?;
    let x = noise(golden, "x", &[batch, inputs, side, side], dtype)?;
    let x = candle_core::Var::from_tensor(&x)?;
    let found = velocities(golden, expected, config, &store, x.as_tensor())?;
    let rows: Vec<_> = found
        .iter()
        .map(|velocity| summary(velocity, OUTPUT_SAMPLES))
        .collect::<Result<_>>()?;
    check(golden, (name, "velocities"), &rows, forward)?;
    if !learn {
        return Ok(());
    }
    let mut loss = Tensor::zeros((), dtype, &Device::Cpu)?;
    for (head, velocity) in found.iter().enumerate() {
        let target = noise(
            golden,
            &format!("target{head}"),
            &[batch, outputs, side, side],
            dtype,
        )?;
        loss = (loss + ((velocity - target)?.sqr()?.mean_all()? * 0.5)?)?;
    }
    let error = relative_error(&values(&loss)?, &[expected.loss])?;
    ensure!(error <= forward, "{name}: the loss is off by {error:.2e}");
    let all = loss.backward()?;
    let of_x = all.get(&x).with_context(|| format!("{name}: x"))?;
    let of_x = [summary(of_x, OUTPUT_SAMPLES)?];
    check(golden, (name, "x"), &of_x, gradient)?;
    let parameters: std::collections::BTreeMap<_, _> = store.parameters().into_iter().collect();
    let rows: Vec<_> = expected
        .gradients
        .iter()
        .map(|parameter| {
            let var = parameters.get(parameter);
            let gradient = var.and_then(|var| all.get(var));
            let gradient = gradient.with_context(|| format!("{name}: {parameter}"))?;
            summary(gradient, GRADIENT_SAMPLES)
        })
        .collect::<Result<_>>()?;
    check(golden, (name, "gradients"), &rows, gradient)
}

/// Every registered U-Net has golden values made with the registry's configuration.
#[test]
fn the_registry_is_covered() -> Result<()> {
    let golden = Golden::load()?;
    for entry in registry::MODELS
        .iter()
        .filter(|entry| entry.family != "mlp")
    {
        let expected = golden.networks.get(entry.name);
        let expected = expected.with_context(|| entry.name.to_string())?;
        assert!(expected.registered, "{}", entry.name);
        assert_eq!(expected.config, (entry.config)(), "{}", entry.name);
        assert_eq!(
            (expected.parameters, expected.tensors, expected.macs),
            (entry.parameters, entry.tensors, entry.macs),
            "{}",
            entry.name
        );
    }
    Ok(())
}

/// Names and shapes of all tensors are the originals', in every dialect.
#[test]
fn sizes_and_names() -> Result<()> {
    let golden = Golden::load()?;
    for (name, expected) in &golden.networks {
        let list = registry::tensor_list(&expected.config)?;
        let mut lines = String::new();
        let mut parameters = 0;
        for info in &list {
            let shape: Vec<_> = info.shape.iter().map(usize::to_string).collect();
            lines.push_str(&format!("{} {}\n", info.name, shape.join(",")));
            if Role::of(&info.name) == Role::Parameter {
                parameters += info.shape.iter().product::<usize>();
            }
        }
        let keys = format!("{:016x}", generate::fnv1a(lines.as_bytes()));
        assert_eq!(keys, expected.keys, "{name}: the tensors are\n{lines}");
        assert_eq!(
            (parameters, list.len()),
            (expected.parameters, expected.tensors),
            "{name}"
        );
    }
    Ok(())
}

#[test]
fn all_in_f32() -> Result<()> {
    let golden = Golden::load()?;
    for (name, expected) in golden.networks.iter().filter(|(_, expected)| expected.run) {
        let learn = expected.parameters <= PARAMETERS_THAT_LEARN;
        check_network(&golden, name, DType::F32, learn, (FORWARD, GRADIENT))?;
    }
    Ok(())
}

#[test]
fn the_small_in_f64() -> Result<()> {
    let golden = Golden::load()?;
    let small = |expected: &Expected| expected.run && expected.parameters <= PARAMETERS_IN_F64;
    let mut count = 0;
    for (name, _) in golden
        .networks
        .iter()
        .filter(|(_, expected)| small(expected))
    {
        check_network(&golden, name, DType::F64, true, (EXACT, EXACT))?;
        count += 1;
    }
    assert!(count >= 8, "{count} networks in f64");
    Ok(())
}

/// The three preconditionings around one network with labels, in f32 as the originals have them.
#[test]
fn denoisers() -> Result<()> {
    let golden = Golden::load()?;
    let config = &golden.networks["song_labels"].config;
    let (inputs, _, class, _) = form(config)?;
    let side = golden.networks["song_labels"].side;
    let store = store(&golden, config, DType::F32)?;
    let network = config.build(store.frozen(DType::F32))?;
    let x = noise(
        &golden,
        "x",
        &[golden.batch, inputs, side, side],
        DType::F32,
    )?;
    let sigma = Tensor::new(&[0.5f32, 8.0], &Device::Cpu)?;
    let class = classes(class)?;
    for (array, preconditioning) in [
        ("edm", Preconditioning::EDM),
        ("variance_preserving", Preconditioning::VariancePreserving),
        ("variance_exploding", Preconditioning::VarianceExploding),
    ] {
        let found = preconditioning.denoise(network.as_ref(), &x, &sigma, class.as_ref())?;
        let rows = [summary(&found, OUTPUT_SAMPLES)?];
        check(&golden, ("denoise", array), &rows, FORWARD)?;
    }
    Ok(())
}

/// The three orders of query, key and value rows say the same once the rows are brought along.
#[test]
fn orders_of_rows() -> Result<()> {
    use taper::velocity::QkvOrder;
    let golden = Golden::load()?;
    let name = "adm_catch_up";
    let expected = &golden.networks[name];
    let VelocityConfig::Adm(config) = &expected.config else {
        anyhow::bail!("{name} is no ADM");
    };
    let store = store(&golden, &expected.config, DType::F64)?;
    for (tensor_name, tensor) in store.state() {
        if !tensor_name.contains(".qkv.") {
            continue;
        }
        let channels = tensor.dim(0)? / 3;
        let heads = channels / config.head_channels;
        let rows = QkvOrder::WhichHeadChannel.rows(heads, config.head_channels);
        let rows = Tensor::from_vec(rows, 3 * channels, &Device::Cpu)?;
        store.insert(&tensor_name, &tensor.index_select(&rows, 0)?)?;
    }
    let other = VelocityConfig::Adm(AdmConfig {
        dialect: AdmDialect::GuidedDiffusion,
        ..config.clone()
    });
    let shape = [golden.batch, config.inputs, expected.side, expected.side];
    let x = noise(&golden, "x", &shape, DType::F64)?;
    let found = velocities(&golden, expected, &other, &store, &x)?;
    let rows: Vec<_> = found
        .iter()
        .map(|velocity| summary(velocity, OUTPUT_SAMPLES))
        .collect::<Result<_>>()?;
    check(&golden, (name, "velocities"), &rows, EXACT)
}

/// The comparison sees what ports get wrong: another φ, other norms' groups, another order of rows.
#[test]
fn faults_are_seen() -> Result<()> {
    let golden = Golden::load()?;
    let fails = |name: &str, config: &VelocityConfig| -> Result<bool> {
        let expected = &golden.networks[name];
        let store = store(&golden, config, DType::F32)?;
        let (inputs, ..) = form(config)?;
        let shape = [golden.batch, inputs, expected.side, expected.side];
        let x = noise(&golden, "x", &shape, DType::F32)?;
        let found = velocities(&golden, expected, config, &store, &x)?;
        let rows: Vec<_> = found
            .iter()
            .map(|velocity| summary(velocity, OUTPUT_SAMPLES))
            .collect::<Result<_>>()?;
        Ok(check(&golden, (name, "velocities"), &rows, FORWARD).is_err())
    };
    let mnist = &golden.networks["cud_mnist"].config;
    assert!(!fails("cud_mnist", mnist)?);
    assert!(fails("cud_mnist", &mnist.clone().with_phi(Some(0.75)))?);
    assert!(fails("cud_mnist", &mnist.clone().with_phi(None))?);
    let VelocityConfig::Adm(adm) = &golden.networks["adm_catch_up"].config else {
        anyhow::bail!("adm_catch_up is no ADM");
    };
    let other = VelocityConfig::Adm(AdmConfig {
        dialect: AdmDialect::GuidedDiffusion,
        ..adm.clone()
    });
    assert!(fails("adm_catch_up", &other)?);
    Ok(())
}

/// A forward and a backward pass give the same bits on one thread and on several.
#[test]
fn threads_change_nothing() -> Result<()> {
    let golden = Golden::load()?;
    let name = "cud_mnist";
    let expected = &golden.networks[name];
    let run = |count: usize| -> Result<(Vec<f64>, Vec<f64>)> {
        threads::set_threads(count);
        let store = store(&golden, &expected.config, DType::F32)?;
        let x = noise(&golden, "x", &[golden.batch, 1, 28, 28], DType::F32)?;
        let found = velocities(&golden, expected, &expected.config, &store, &x)?;
        let gradients = found[0].sqr()?.mean_all()?.backward()?;
        let mut all = Vec::new();
        for (_, var) in store.parameters() {
            all.extend(values(gradients.get(&var).context("no gradient")?)?);
        }
        Ok((values(&found[0])?, all))
    };
    let (alone, several) = (run(1)?, run(3)?);
    threads::set_threads(0);
    assert!(alone == several);
    Ok(())
}
