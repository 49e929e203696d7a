use super::*;

fn survey(records: [u32; CLASSES]) -> Survey {
    Survey {
        newest: Timestamp::from_millis(1000),
        records,
        bytes: records.map(|count| u64::from(count) * 100),
    }
}

#[test]
fn a_range_is_gone_once_nothing_of_any_class_is_left() {
    let mut progress = Progress {
        surveyed: 2,
        bytes: [500, 100, 0, 0],
        ..Progress::default()
    };
    let step = Step {
        range: 0,
        classes: [true, false, true, true],
        survey: survey([5, 1, 0, 0]),
    };
    assert_eq!((step.records(), step.classes()), (5, vec!["access"]));
    assert!(!progress.take(&step));
    assert_eq!(progress.upto, [1, 0, 1, 1]);
    assert_eq!(progress.bytes, [0, 100, 0, 0]);
    assert_eq!(step.left().records, [0, 1, 0, 0]);
    let step = Step {
        range: 0,
        classes: [false, true, false, false],
        survey: step.left(),
    };
    assert!(progress.take(&step));
    assert_eq!((progress.front(), progress.removed), (1, [5, 1, 0, 0]));
}

#[test]
fn the_tiles_that_a_checkpoint_ends_in_stay() {
    let all = spare_tiles(1, &[]);
    assert_eq!(all.len(), 65);
    let kept = spare_tiles(1, &[1, 4096, 4100, 4160, 8192, 9000]);
    assert_eq!(
        kept.len(),
        63,
        "those of 4100, within a tile; 4160 ends with its tile, and needs the one above"
    );
    assert!(!kept.contains(&key::tile(0, 64)) && !kept.contains(&key::tile(1, 1)));
}
