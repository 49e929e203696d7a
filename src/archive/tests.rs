use super::*;

fn file(frames: &[(bool, &[u8])]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), b"about it").unwrap();
    for (last, body) in frames {
        writer.frame(*last, body).unwrap();
    }
    let (bytes, summary) = writer.finish().unwrap();
    assert_eq!(summary.bytes, bytes.len() as u64);
    assert_eq!(summary.frames, frames.len() as u64);
    bytes
}

fn refusal(bytes: &[u8]) -> String {
    verify(bytes).expect_err("it was read").to_string()
}

#[test]
fn a_file_reads_as_it_was_written() {
    let long = vec![9; 300_000];
    let bytes = file(&[(false, b"one"), (false, &long), (true, b"")]);
    let mut reader = Reader::new(&bytes[..]).unwrap();
    assert_eq!(reader.header(), b"about it");
    for (number, last, body) in [(0, false, &b"one"[..]), (1, false, &long), (2, true, b"")] {
        assert_eq!(reader.summary(), None);
        let frame = reader.frame().unwrap().unwrap();
        assert_eq!((frame.number, frame.last), (number, last));
        assert!(frame.body == body);
    }
    assert!(reader.frame().unwrap().is_none());
    assert_eq!(reader.summary(), Some(verify(&bytes[..]).unwrap()));
}

#[test]
fn damage_anywhere_is_found() {
    let good = file(&[(false, b"one"), (true, b"two")]);
    verify(&good[..]).unwrap();
    for at in 0..good.len() {
        for bit in [0x01, 0x80] {
            let mut bad = good.clone();
            bad[at] ^= bit;
            refusal(&bad);
        }
        refusal(&good[..at]);
    }
    assert_eq!(
        refusal(&[&good[..], b"x"].concat()),
        "the backup is damaged: something follows its end"
    );
}

#[test]
fn each_refusal_says_what_is_wrong() {
    let good = file(&[(true, b"body")]);
    assert_eq!(
        refusal(b""),
        "the file is not a backup of a Leasehold vault"
    );
    assert_eq!(
        refusal(b"{\"status\":\"success\"}"),
        "the file is not a backup of a Leasehold vault"
    );
    let mut newer = good.clone();
    newer[16] = 2;
    assert_eq!(
        refusal(&newer),
        "the backup has format 2, and this version of leasehold reads format 1 only"
    );
    assert_eq!(
        refusal(&good[..good.len() - 1]),
        "the backup ends too early: it was cut short or damaged"
    );
    let mut changed = good.clone();
    let body = good.len() - 33;
    changed[body] ^= 1;
    assert_eq!(
        refusal(&changed),
        "the backup is damaged: its checksum is wrong"
    );
    let mut long = good;
    long[16 + 1..16 + 5].copy_from_slice(&u32::MAX.to_be_bytes());
    assert_eq!(
        refusal(&long),
        "the backup is damaged: a part is longer than any can be"
    );
}

#[test]
fn a_part_that_could_not_be_read_again_is_not_written() {
    assert!(Writer::new(Vec::new(), &vec![0; MAX_HEADER_BYTES + 1]).is_err());
    let mut writer = Writer::new(Vec::new(), b"").unwrap();
    assert!(writer.frame(true, &vec![0; MAX_FRAME_BYTES + 1]).is_err());
}
