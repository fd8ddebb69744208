//! From the objects of a pickle to tensors by name: wrappers taken off, nesting joined by dots.

use super::pickle::{Graph, Value};
use super::resolve::Resolver;
use super::source::Source;
use super::view::View;
use super::{Found, Limits};
use crate::WeightsError;

/// Keys that hold the weights whatever lies beside them, in the order of preference.
const WRAPPERS: &[&str] = &[
    "state_dict",
    "model_state_dict",
    "model_state",
    "model_dict",
];

/// Keys that hold the weights when nothing but the luggage of a training lies beside them.
const LIKELY_WRAPPERS: &[&str] = &[
    "model",
    "net",
    "network",
    "module",
    "weights",
    "params",
    "parameters",
    "student",
    "encoder_state_dict",
    "checkpoint",
    "ckpt",
    "state_dict_ema",
    "model_ema",
    "ema_state_dict",
    "ema_model",
    "params_ema",
    "ema",
    "net_state_dict",
    "netG",
    "generator",
    "teacher",
];

/// Parts of the names of what a training keeps beside its weights.
const LUGGAGE: &[&str] = &[
    "optim",
    "sched",
    "scaler",
    "ema",
    "loss",
    "criterion",
    "amp",
    "rng",
    "random",
    "callback",
    "hyper",
    "hparams",
    "args",
    "config",
    "cfg",
    "best",
    "epoch",
    "step",
    "iter",
    "history",
    "metric",
    "stat",
    "acc",
    "swa",
    "grad",
    "teacher",
    "model",
    "lr",
    "meta",
    "version",
    "train",
];

/// Longest name of a tensor, in bytes.
const NAME_BYTES: usize = 4096;

/// Objects looked at, at most: shared lists can nest to any number.
const VISITS: usize = 8_000_000;

/// Every tensor under `graph`'s root.
pub(crate) fn flatten(
    resolver: &Resolver<'_>,
    source: &Source,
    limits: &Limits,
) -> Result<Found, WeightsError> {
    let graph = resolver.graph;
    let mut walk = Walk {
        resolver,
        source,
        limits,
        visits: 0,
        name_bytes: 0,
    };
    let mut found = Found::default();
    let mut root = &graph.root;
    let mut wrapper: Vec<String> = Vec::new();
    let mut beside = Vec::new();
    while wrapper.len() < limits.depth.min(4)
        && let Some((key, inner)) = walk.wrapped(root)?
    {
        for (other, value) in walk.members(root).unwrap_or_default() {
            if other == key {
                continue;
            }
            if let Some(text) = scalar(resolver, &value) {
                found.metadata.insert(other.clone(), text);
            }
            let name = wrapper
                .iter()
                .chain([&other])
                .cloned()
                .collect::<Vec<_>>()
                .join(".");
            walk.collect(&value, name, 1, &mut beside)?;
        }
        wrapper.push(key);
        root = inner;
    }
    let mut leaves = Vec::new();
    walk.collect(root, String::new(), 0, &mut leaves)?;
    if wrapper.is_empty() {
        for (key, value) in walk.members(root).unwrap_or_default() {
            if let Some(text) = scalar(resolver, &value) {
                found.metadata.insert(key, text);
            }
        }
    }
    for (name, leaf) in leaves {
        let view = leaf.map_err(|reason| source.format(format!("tensor {name} {reason}")))?;
        found.views.push((name, view));
    }
    found.wrapper = (!wrapper.is_empty()).then(|| wrapper.join("."));
    found.describe_beside(beside);
    Ok(found)
}

impl Found {
    fn describe_beside(&mut self, leaves: Vec<(String, Leaf)>) {
        if leaves.is_empty() {
            return;
        }
        let count = leaves.len();
        let wrapper = self.wrapper.clone().unwrap_or_default();
        let mut keys: Vec<&str> = leaves
            .iter()
            .map(|(name, _)| name.split('.').next().unwrap_or(name))
            .collect();
        keys.dedup();
        self.notes.push(format!(
            "{count} tensors beside `{wrapper}` are left out: {}",
            keys.iter()
                .take(6)
                .map(|key| format!("`{key}`"))
                .collect::<Vec<_>>()
                .join(", ")
        ));
        for (name, leaf) in leaves {
            match leaf {
                Ok(view) => self.beside.push((name, view)),
                Err(reason) => self.notes.push(format!("tensor {name} {reason}")),
            }
        }
    }
}

type Leaf = Result<View, String>;

struct Walk<'a> {
    resolver: &'a Resolver<'a>,
    source: &'a Source,
    limits: &'a Limits,
    visits: usize,
    name_bytes: u64,
}

impl<'a> Walk<'a> {
    /// What nests: dictionaries, lists, tuples, and attributes of opaque objects.
    fn members(&self, value: &'a Value) -> Option<Vec<(String, Value)>> {
        let graph = self.resolver.graph;
        if let Some(pairs) = graph.dict(value) {
            return Some(
                pairs
                    .iter()
                    .map(|(key, value)| (key_text(graph, key), value.clone()))
                    .collect(),
            );
        }
        if let Some(items) = graph.items(value) {
            let numbered = items.iter().enumerate();
            return Some(
                numbered
                    .map(|(index, item)| (index.to_string(), item.clone()))
                    .collect(),
            );
        }
        let (_, _, state) = graph.call(value)?;
        let pairs = graph.dict(state?)?;
        Some(
            pairs
                .iter()
                .map(|(key, value)| (key_text(graph, key), value.clone()))
                .collect(),
        )
    }

    /// The wrapper in the dictionary `root`, if it has one.
    fn wrapped(&mut self, root: &'a Value) -> Result<Option<(String, &'a Value)>, WeightsError> {
        let graph = self.resolver.graph;
        let Some(pairs) = graph.dict(root) else {
            return Ok(None);
        };
        let find = |wanted: &str| {
            pairs
                .iter()
                .find(|(key, value)| graph.dict(value).is_some() && key_text(graph, key) == wanted)
                .map(|(_, value)| value)
        };
        for name in WRAPPERS {
            if let Some(inner) = find(name)
                && self.has_tensor(inner)?
            {
                return Ok(Some(((*name).to_string(), inner)));
            }
        }
        for (_, value) in pairs {
            // A tensor of several numbers says that this is a state dictionary already.
            if let Some(Ok(view)) = self.resolver.tensor(value)
                && view.shape.iter().product::<usize>() > 1
            {
                return Ok(None);
            }
        }
        for name in LIKELY_WRAPPERS {
            let Some(inner) = find(name) else { continue };
            if !self.has_tensor(inner)? {
                continue;
            }
            for (key, value) in pairs {
                let key = key_text(graph, key);
                let lower = key.to_lowercase();
                let luggage = LUGGAGE.iter().any(|part| lower.contains(part))
                    || LIKELY_WRAPPERS.contains(&key.as_str());
                if key != *name && !luggage && self.has_tensor(value)? {
                    return Ok(None);
                }
            }
            return Ok(Some(((*name).to_string(), inner)));
        }
        Ok(None)
    }

    fn has_tensor(&mut self, value: &Value) -> Result<bool, WeightsError> {
        let mut leaves = Vec::new();
        self.collect(value, String::new(), 1, &mut leaves)?;
        Ok(!leaves.is_empty())
    }

    fn collect(
        &mut self,
        value: &Value,
        name: String,
        depth: usize,
        leaves: &mut Vec<(String, Leaf)>,
    ) -> Result<(), WeightsError> {
        self.visits += 1;
        if self.visits > VISITS {
            return Err(self.source.limit(
                format!("more than {VISITS} objects, counted as often as they are shared"),
                "pickle_bytes",
            ));
        }
        if let Some(leaf) = self.resolver.tensor(value) {
            return self.leaf(name, leaf, leaves);
        }
        let graph = self.resolver.graph;
        let nested: &[(Value, Value)] = match graph.dict(value) {
            Some(pairs) => pairs,
            None => match graph.call(value) {
                Some((_, _, Some(state))) => graph.dict(state).unwrap_or_default(),
                _ => &[],
            },
        };
        let items = graph.items(value).unwrap_or_default();
        if nested.is_empty() && items.is_empty() {
            return Ok(());
        }
        if depth >= self.limits.depth {
            let what = format!(
                "objects nested more than {} deep at {}",
                depth,
                shown(&name)
            );
            return Err(self.source.limit(what, "depth"));
        }
        for (key, inner) in nested {
            if holds_nothing(inner) {
                continue;
            }
            let inner_name = self.joined(&name, &key_text(graph, key))?;
            self.collect(inner, inner_name, depth + 1, leaves)?;
        }
        for (index, inner) in items.iter().enumerate() {
            if holds_nothing(inner) {
                continue;
            }
            let inner_name = self.joined(&name, &index.to_string())?;
            self.collect(inner, inner_name, depth + 1, leaves)?;
        }
        Ok(())
    }

    fn leaf(
        &mut self,
        name: String,
        leaf: Leaf,
        leaves: &mut Vec<(String, Leaf)>,
    ) -> Result<(), WeightsError> {
        if leaves.len() >= self.limits.tensors {
            let what = format!("more than {} tensors", self.limits.tensors);
            return Err(self.source.limit(what, "tensors"));
        }
        self.name_bytes += name.len() as u64 + 128;
        if self.name_bytes > self.limits.pickle_bytes {
            return Err(self.source.limit("names of tensors", "pickle_bytes"));
        }
        // A tensor that is the whole file has no name of its own.
        let name = if name.is_empty() {
            "tensor".into()
        } else {
            name
        };
        leaves.push((name, leaf));
        Ok(())
    }

    fn joined(&self, prefix: &str, key: &str) -> Result<String, WeightsError> {
        if prefix.len() + key.len() >= NAME_BYTES {
            let start = shown(if prefix.is_empty() { key } else { prefix });
            let reason = format!("a name of more than {NAME_BYTES} bytes that starts {start}");
            return Err(self.source.format(reason));
        }
        Ok(match prefix {
            "" => key.to_string(),
            prefix => format!("{prefix}.{key}"),
        })
    }
}

fn shown(text: &str) -> String {
    text.chars().take(60).collect()
}

fn holds_nothing(value: &Value) -> bool {
    !matches!(value, Value::Node(_))
}

fn key_text(graph: &Graph, key: &Value) -> String {
    match key {
        Value::Int(number) => number.to_string(),
        Value::Bool(true) => "True".into(),
        Value::Bool(false) => "False".into(),
        Value::Float(number) => format!("{number:?}"),
        Value::None => "None".into(),
        Value::Global(global) => format!("{}.{}", global.module, global.name),
        Value::Node(_) => match graph.items(key) {
            Some(items) => items
                .iter()
                .map(|item| match item {
                    Value::Node(_) => "…".into(),
                    plain => key_text(graph, plain),
                })
                .take(16)
                .collect::<Vec<_>>()
                .join(","),
            None => "object".into(),
        },
        other => graph.text(other).unwrap_or_else(|| "bytes".into()),
    }
}

/// A number or short text beside the tensors.
fn scalar(resolver: &Resolver<'_>, value: &Value) -> Option<String> {
    match value {
        Value::Int(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Text(_) | Value::Bytes(_) => {
            resolver.graph.text(value).filter(|text| text.len() <= 1024)
        }
        Value::Node(_) => resolver.numpy_scalar(value),
        _ => None,
    }
}
