//! What a pickle describes: values and an arena of containers, so that nothing recurses.

use crate::reader::source::Region;
use std::sync::Arc;

/// A Python object. Containers lie in the [`Graph`].
#[derive(Debug, Clone)]
pub(crate) enum Value {
    None,
    Bool(bool),
    Int(i64),
    /// An integer beyond 64 bits, little-endian two's complement.
    Long(Arc<[u8]>),
    Float(f64),
    Text(Arc<str>),
    /// Bytes, or a text of Python 2.
    Bytes(Region),
    Global(Arc<Global>),
    Node(usize),
}

/// A name from the allow-list: never imported, never called.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Global {
    pub(crate) module: String,
    pub(crate) name: String,
}

impl Global {
    pub(crate) fn is(&self, module: &str, name: &str) -> bool {
        self.module == module && self.name == name
    }
}

/// A container, or something that Python would have built by a call.
#[derive(Debug, Clone)]
pub(crate) enum Node {
    Tuple(Vec<Value>),
    List(Vec<Value>),
    Dict(Vec<(Value, Value)>),
    Set,
    Call {
        callable: Arc<Global>,
        arguments: Value,
        state: Option<Value>,
    },
    /// A reference to something outside of the pickle: a storage.
    Persistent(Value),
}

/// The parsed pickle.
#[derive(Debug)]
pub(crate) struct Graph {
    pub(crate) nodes: Vec<Node>,
    pub(crate) root: Value,
}

impl Graph {
    pub(crate) fn node(&self, value: &Value) -> Option<&Node> {
        match value {
            Value::Node(index) => self.nodes.get(*index),
            _ => None,
        }
    }

    /// Elements of a tuple or list.
    pub(crate) fn items(&self, value: &Value) -> Option<&[Value]> {
        match self.node(value)? {
            Node::Tuple(items) | Node::List(items) => Some(items),
            _ => None,
        }
    }

    pub(crate) fn dict(&self, value: &Value) -> Option<&[(Value, Value)]> {
        match self.node(value)? {
            Node::Dict(items) => Some(items),
            _ => None,
        }
    }

    pub(crate) fn call(&self, value: &Value) -> Option<(&Global, &Value, Option<&Value>)> {
        match self.node(value)? {
            Node::Call {
                callable,
                arguments,
                state,
            } => Some((callable, arguments, state.as_ref())),
            _ => None,
        }
    }

    /// A text, also one that Python 2 wrote as bytes.
    pub(crate) fn text(&self, value: &Value) -> Option<String> {
        match value {
            Value::Text(text) => Some(text.to_string()),
            Value::Bytes(region) if region.length <= 1 << 16 => {
                String::from_utf8(region.bytes().ok()?).ok()
            }
            _ => None,
        }
    }

    pub(crate) fn integer(&self, value: &Value) -> Option<i64> {
        match value {
            Value::Int(number) => Some(*number),
            Value::Bool(number) => Some(i64::from(*number)),
            _ => None,
        }
    }

    /// Sizes or strides: a tuple or list of integers, or a call of `torch.Size` on one.
    pub(crate) fn sizes(&self, value: &Value) -> Option<Vec<u64>> {
        let items = match self.call(value) {
            Some((_, arguments, _)) => self.items(self.items(arguments)?.first()?)?,
            None => self.items(value)?,
        };
        items
            .iter()
            .map(|item| u64::try_from(self.integer(item)?).ok())
            .collect()
    }
}
