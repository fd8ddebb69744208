//! The file to write is guarded.

use crate::files::corpus;
use crate::{convert, leftovers, small, strings};
use std::ops::ControlFlow;
use std::path::Path;
use taper_weights::{ConvertOptions, WeightsError, load};

#[test]
fn the_target_is_guarded() {
    let folder = tempfile::tempdir().unwrap();
    let input = small(folder.path());
    let whole = std::fs::read(&input).unwrap();
    let out = folder.path().join("out.safetensors");
    std::fs::write(&out, "mine").unwrap();
    let text = convert(&input, &out, &Default::default())
        .unwrap_err()
        .to_string();
    assert!(text.contains("--force"), "{text}");
    let force = ConvertOptions {
        force: true,
        ..Default::default()
    };
    let links = [folder.path().join("soft"), folder.path().join("hard")];
    std::os::unix::fs::symlink(&input, &links[0]).unwrap();
    std::fs::hard_link(&input, &links[1]).unwrap();
    for same in [&input, &links[0], &links[1]] {
        for options in [&force, &ConvertOptions::default()] {
            let error = convert(&input, same, options).unwrap_err();
            assert!(matches!(error, WeightsError::SameFile { .. }), "{error}");
        }
    }
    assert_eq!(std::fs::read(&input).unwrap(), whole);
    // A link to nothing, a folder, another kind's name, a folder that is not there.
    let dangling = folder.path().join("dangling");
    std::os::unix::fs::symlink("nowhere", &dangling).unwrap();
    assert!(matches!(
        convert(&input, &dangling, &Default::default()),
        Err(WeightsError::Exists { .. })
    ));
    let inner = folder.path().join("inner");
    std::fs::create_dir(&inner).unwrap();
    assert!(convert(&input, &inner, &force).is_err());
    let text = convert(&input, &folder.path().join("a.pth"), &force)
        .unwrap_err()
        .to_string();
    assert!(text.contains("safetensors"), "{text}");
    let text = convert(&input, Path::new("/no/such/folder/w.safetensors"), &force)
        .unwrap_err()
        .to_string();
    assert!(text.contains("/no/such/folder"), "{text}");
    assert_eq!(std::fs::read(&out).unwrap(), b"mine");
    convert(&input, &out, &force).unwrap();
    assert_eq!(load(&out).unwrap().tensors.len(), 4);
    let names = leftovers(folder.path());
    assert!(
        !names.iter().any(|name| name.starts_with(".taper")),
        "{names:?}"
    );
}

#[test]
fn a_dry_run_and_a_stop_write_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let input = small(folder.path());
    let out = folder.path().join("out.safetensors");
    let options = ConvertOptions {
        dry_run: true,
        strip: strings(&["module."]),
        ..Default::default()
    };
    assert_eq!(convert(&input, &out, &options).unwrap().renamed.len(), 4);
    assert!(!out.exists());
    let stopped = taper_weights::convert(&input, &out, &Default::default(), &mut |_, _| {
        ControlFlow::Break(())
    });
    assert!(matches!(stopped, Err(WeightsError::Stopped { .. })));
    assert_eq!(leftovers(folder.path()), ["small.safetensors"]);
}

#[test]
fn tied_tensors_are_written_in_full_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.safetensors");
    let report = convert(&corpus("good/layouts.pt"), &out, &Default::default()).unwrap();
    let told = report
        .notes
        .iter()
        .any(|note| note.contains("tied_a") && note.contains("in full"));
    assert!(told, "{:?}", report.notes);
}
