//! Data and directories that are not as they should be.

use crate::support::Folder;

#[test]
fn data_that_is_missing_or_damaged() {
    let folder = Folder::new();
    let text = folder.fails(&[
        "train",
        "resnet8",
        "--data",
        "cifar10:nowhere",
        "--out",
        "a",
    ]);
    assert!(text.contains("nowhere"), "{text}");
    let text = folder.fails(&["train", "resnet8", "--data", "cifar10", "--out", "b"]);
    assert!(text.contains("cifar10"), "{text}");

    std::fs::create_dir(folder.path("empty")).unwrap();
    let text = folder.fails(&["train", "resnet8", "--data", "cifar10:empty", "--out", "c"]);
    assert!(text.contains("empty"), "{text}");

    std::fs::create_dir(folder.path("cut")).unwrap();
    for part in 1..=5 {
        let name = folder.path(&format!("cut/data_batch_{part}.bin"));
        std::fs::write(name, vec![0u8; 3073 * 10 - 5]).unwrap();
    }
    std::fs::write(folder.path("cut/test_batch.bin"), vec![0u8; 3073]).unwrap();
    let text = folder.fails(&["train", "resnet8", "--data", "cifar10:cut", "--out", "d"]);
    assert!(text.contains("data_batch_1.bin"), "{text}");
}

#[test]
fn classes_must_agree() {
    let folder = Folder::new();
    folder.ok(&[
        "train", "resnet8", "--data", "digits", "--epochs", "1", "--out", "t", "--quiet",
    ]);
    // A folder of images with two classes.
    for class in ["a", "b"] {
        for part in ["train", "test"] {
            let place = folder.path(&format!("images/{part}/{class}"));
            std::fs::create_dir_all(&place).unwrap();
            for index in 0..2 {
                let picture = image::RgbImage::from_pixel(32, 32, image::Rgb([9, 99, 199]));
                picture.save(place.join(format!("{index}.png"))).unwrap();
            }
        }
    }
    let text = folder.fails(&[
        "eval",
        "resnet8",
        "--weights",
        "t/model.safetensors",
        "--data",
        "folder:images",
    ]);
    assert!(text.contains("10 classes") && text.contains('2'), "{text}");
}

#[test]
fn settings_out_of_range() {
    let folder = Folder::new();
    let train = |extra: &[&str]| {
        let mut arguments = vec!["train", "resnet8", "--data", "digits", "--out", "x"];
        arguments.extend(extra);
        folder.fails(&arguments)
    };
    for (extra, named) in [
        (&["--epochs", "0"][..], "epochs"),
        (&["--batch", "0"], "batch"),
        (&["--batch", "100000"], "batch"),
        (&["--lr", "nan"], "learning_rate"),
        (&["--set", "training.ema=2"], "ema"),
    ] {
        let text = train(extra);
        assert!(text.contains(named), "{named}: {text}");
        let _ = std::fs::remove_dir_all(folder.path("x"));
    }
}

#[test]
fn a_loss_that_is_not_a_number_stops_the_run() {
    let folder = Folder::new();
    let text = folder.fails(&[
        "train", "resnet8", "--data", "digits", "--epochs", "3", "--lr", "1e30", "--out", "x",
        "--quiet",
    ]);
    assert!(text.contains("ce"), "{text}");
    assert!(text.contains("epoch"), "{text}");
}

#[test]
fn a_run_in_use_is_refused() {
    let folder = Folder::new();
    let mut child = folder
        .command(&[
            "train", "resnet20", "--data", "digits", "--epochs", "500", "--out", "run", "--quiet",
        ])
        .spawn()
        .unwrap();
    let config = folder.path("run/config.toml");
    for _ in 0..600 {
        if config.exists() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let text = folder.fails(&["train", "--resume", "run"]);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(text.contains("in use") && text.contains("run"), "{text}");
}

#[test]
fn what_is_no_run_is_not_resumed() {
    let folder = Folder::new();
    let text = folder.fails(&["train", "--resume", "nothing"]);
    assert!(text.contains("nothing"), "{text}");
    std::fs::create_dir(folder.path("half")).unwrap();
    std::fs::write(folder.path("half/config.toml"), "model = 3\n").unwrap();
    let text = folder.fails(&["train", "--resume", "half"]);
    assert!(text.contains("config.toml"), "{text}");
}
