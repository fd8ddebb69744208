//! Pickles good, cut, crafted and random.

use super::*;
use proptest::prelude::*;

fn read(input: &[u8]) -> Result<Pickle<'_>> {
    Pickle::read(input, Path::new("batch"))
}

/// `{"labels": [1, 300, -2], "data": array(shape (1, 3), u8)}` as Python 2 writes it.
fn small() -> Vec<u8> {
    let mut bytes =
        b"\x80\x02}q\x01(U\x06labelsq\x02]q\x03(K\x01M\x2c\x01J\xfe\xff\xff\xffe".to_vec();
    bytes
        .extend(b"U\x04dataq\x04cnumpy.core.multiarray\n_reconstruct\nq\x05cnumpy\nndarray\nq\x06");
    bytes.extend(b"K\x00\x85U\x01b\x87Rq\x07(K\x01K\x01K\x03\x86cnumpy\ndtype\nq\x08U\x02u1K\x00K\x01\x87Rq\x09");
    bytes.extend(b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x03abctbu.");
    bytes
}

#[test]
fn a_batch_is_read() {
    let bytes = small();
    let pickle = read(&bytes).unwrap();
    assert_eq!(pickle.integers("labels").unwrap(), [1, 300, -2]);
    let array = pickle.byte_array("data").unwrap();
    assert_eq!((array.shape, array.data), (&[1, 3][..], &b"abc"[..]));
    let error = pickle.integers("fine_labels").unwrap_err().to_string();
    assert!(error.contains("without the key \"fine_labels\""), "{error}");
    assert!(pickle.integers("data").is_err() && pickle.byte_array("labels").is_err());
}

#[test]
fn every_truncation_is_an_error() {
    let bytes = small();
    for cut in 0..bytes.len() {
        assert!(read(&bytes[..cut]).is_err(), "{cut}");
    }
}

#[test]
fn other_globals_are_refused_by_name_and_offset() {
    let error = read(b"\x80\x02cos\nsystem\nU\x02ls\x85R.").unwrap_err();
    let DataError::Pickle { offset, found, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!((*offset, &found[..]), (2, "the global \"os.system\""));
    let error = read(b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93.").unwrap_err();
    assert!(error.to_string().contains("builtins.eval"), "{error}");
    assert!(read(b"\x80\x02cnumpy\ndtype\nU\x02f4\x85R.").is_err());
    assert!(read(b"\x80\x02}b.").is_err());
}

#[test]
fn crafted_pickles_neither_panic_nor_grow() {
    for bytes in [
        &b"."[..],
        b"(.",
        b"u.",
        b"h\x00.",
        b"]a.",
        b"](K\x01u.",
        b"T\xff\xff\xff\xff",
        b"\x8e\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x00\x00.",
        b"\x80\x09.",
        b"R.",
        b"\x93.",
        b"c",
    ] {
        assert!(read(bytes).is_err(), "{bytes:?}");
    }
    // a list that holds itself is harmless
    assert!(read(b"]q\x00h\x00a.").unwrap().integers("x").is_err());
    // decoding one text again and again is not
    let mut bomb = b"c_codecs\nencode\nq\x00X\x40\x00\x00\x00".to_vec();
    bomb.extend([b'a'; 64]);
    bomb.extend(b"U\x06latin1\x86q\x01R");
    for _ in 0..20 {
        bomb.extend(b"h\x00h\x01R");
    }
    bomb.push(b'.');
    assert!(read(&bomb).unwrap_err().to_string().contains("more text"));
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(pickle) = read(&bytes) {
            let _ = (pickle.integers("labels"), pickle.byte_array("data"));
        }
    }

    #[test]
    fn a_damaged_batch_never_panics(at in 0usize..200, value: u8, insert: bool) {
        let mut bytes = small();
        let at = at % bytes.len();
        match insert {
            true => bytes.insert(at, value),
            false => bytes[at] = value,
        }
        if let Ok(pickle) = read(&bytes) {
            let _ = (pickle.integers("labels"), pickle.byte_array("data"));
        }
    }

    /// Mostly valid opcodes, so that the stack gets deep and calls are tried.
    #[test]
    fn random_opcodes_never_panic(
        picks in proptest::collection::vec(0usize..24, 0..200)
    ) {
        let words: [&[u8]; 24] = [
            b"(", b"0", b"N", b"\x88", b"K\x01", b"U\x02u1", b"U\x04data", b"}", b"]", b")",
            b"t", b"\x85", b"\x86", b"\x87", b"a", b"e", b"s", b"u", b"q\x00", b"h\x00",
            b"cnumpy\ndtype\n", b"cnumpy.core.multiarray\n_reconstruct\n", b"R", b"b",
        ];
        let mut bytes: Vec<u8> = picks.iter().flat_map(|&p| words[p].to_vec()).collect();
        bytes.push(b'.');
        if let Ok(pickle) = read(&bytes) {
            let _ = (pickle.integers("labels"), pickle.byte_array("data"));
        }
    }
}
