//! The names that a checkpoint may mention. None is ever imported or called.

/// Whether `module.name` belongs to the vocabulary of tensors and plain containers.
pub(super) fn allowed(module: &str, name: &str, torch_script: bool) -> bool {
    match module {
        "torch" => torch(name),
        "torch.cuda" | "torch.storage" | "torch.sparse" => {
            name.ends_with("Storage") || (module == "torch.cuda" && name.ends_with("Tensor"))
        }
        "torch._utils" => name.starts_with("_rebuild_"),
        "torch._tensor" | "torch.tensor" => {
            matches!(
                name,
                "Tensor" | "_rebuild_from_type" | "_rebuild_from_type_v2"
            )
        }
        "torch.nn.parameter" => matches!(name, "Parameter" | "Buffer"),
        "torch.autograd.variable" => name == "Variable",
        "torch.serialization" => name == "_get_layout",
        "torch._C" => name == "Size",
        "torch.jit._pickle" => matches!(
            name,
            "build_intlist"
                | "build_tensorlist"
                | "build_doublelist"
                | "build_boollist"
                | "build_tensor_from_id"
                | "restore_type_tag"
        ),
        "collections" => {
            matches!(name, "OrderedDict" | "defaultdict" | "Counter" | "deque")
        }
        "builtins" | "__builtin__" => builtin(name),
        "_codecs" => name == "encode",
        "copyreg" | "copy_reg" => matches!(name, "_reconstructor" | "__newobj__"),
        "argparse" => name == "Namespace",
        "types" => name == "SimpleNamespace",
        "pathlib" | "pathlib._local" => {
            matches!(
                name,
                "Path" | "PosixPath" | "PurePosixPath" | "WindowsPath" | "PureWindowsPath"
            )
        }
        "datetime" => matches!(
            name,
            "datetime" | "date" | "time" | "timedelta" | "timezone"
        ),
        "decimal" => name == "Decimal",
        "uuid" => name == "UUID",
        _ if module == "numpy" || module.starts_with("numpy.") => numpy(module, name),
        _ => torch_script && (module == "__torch__" || module.starts_with("__torch__.")),
    }
}

fn torch(name: &str) -> bool {
    const DTYPES: &[&str] = &[
        "float", "double", "half", "bfloat16", "long", "int", "short", "bool", "chalf", "cfloat",
        "cdouble",
    ];
    const PREFIXES: &[&str] = &[
        "float", "int", "uint", "complex", "qint", "quint", "bits", "sparse_",
    ];
    const OTHERS: &[&str] = &[
        "Size",
        "device",
        "dtype",
        "Tensor",
        "strided",
        "per_tensor_affine",
        "per_channel_affine",
        "per_tensor_symmetric",
        "per_channel_symmetric",
        "per_channel_affine_float_qparams",
        "contiguous_format",
        "channels_last",
        "channels_last_3d",
        "preserve_format",
        "jagged",
    ];
    let numbered = PREFIXES.iter().any(|prefix| {
        name.strip_prefix(prefix).is_some_and(|rest| {
            prefix.ends_with('_') || rest.starts_with(|first: char| first.is_ascii_digit())
        })
    });
    let typed = name.ends_with("Storage") || name.ends_with("Tensor");
    numbered || typed || DTYPES.contains(&name) || OTHERS.contains(&name)
}

fn builtin(name: &str) -> bool {
    matches!(
        name,
        "set"
            | "frozenset"
            | "bytearray"
            | "complex"
            | "slice"
            | "range"
            | "xrange"
            | "list"
            | "dict"
            | "tuple"
            | "int"
            | "long"
            | "float"
            | "str"
            | "unicode"
            | "bytes"
            | "bool"
            | "object"
    )
}

fn numpy(module: &str, name: &str) -> bool {
    match module {
        "numpy" => {
            matches!(name, "ndarray" | "dtype" | "bool_" | "bool")
                || ["float", "int", "uint", "complex"].iter().any(|prefix| {
                    name.strip_prefix(prefix)
                        .is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()))
                })
        }
        "numpy.core.multiarray" | "numpy._core.multiarray" => {
            matches!(name, "_reconstruct" | "scalar")
        }
        "numpy.core.numeric" | "numpy._core.numeric" => name == "_frombuffer",
        "numpy.dtypes" => name.ends_with("DType"),
        _ => false,
    }
}
