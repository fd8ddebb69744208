//! Python's pickle, protocols 0 to 5, parsed as data: nothing is imported, called or executed.

mod globals;
mod input;
mod machine;
mod value;

pub(crate) use machine::Parser;
pub(crate) use value::{Global, Graph, Node, Value};
