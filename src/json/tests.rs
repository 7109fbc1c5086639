//! What is written, byte for byte.

pub(crate) mod schema;

use super::*;
use crate::p2p::tests::samples::{Sample, samples};

#[derive(Serialize)]
struct Bare<'a> {
    hash: Hash,
    bytes: Bytes<'a>,
    list: Vec<Bytes<'a>>,
}

const HASH: Hash = Hash([
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30,
    255,
]);

fn sample() -> Bare<'static> {
    Bare { hash: HASH, bytes: Bytes(&[9, 10, 99, 100, 255]), list: vec![Bytes(&[]), Bytes(&[7])] }
}

fn line<T: Serialize>(value: &T, bytes: BytesStyle, pretty: bool) -> String {
    let mut line = Vec::new();
    write_line(&mut line, value, Style { bytes, pretty, ..Style::default() }).expect("a Vec takes all");
    String::from_utf8(line).expect("JSON is UTF-8")
}

#[test]
fn arrays_of_integers_are_what_serde_json_itself_writes() {
    for length in [0, 1, 2, 255, 256, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK] {
        let bytes: Vec<u8> = (0..length).map(|i| (i * 7 % 256) as u8).collect();
        let expected = serde_json::to_string(&bytes).unwrap() + "\n";
        assert_eq!(line(&Bytes(&bytes), BytesStyle::Array, false), expected, "{length} bytes");
    }
    let every_byte: Vec<u8> = (0..=255).collect();
    assert_eq!(line(&Bytes(&every_byte), BytesStyle::Array, false), serde_json::to_string(&every_byte).unwrap() + "\n");
}

#[test]
fn hex_shows_bytes_in_order_and_hashes_as_explorers_do() {
    assert_eq!(
        line(&sample(), BytesStyle::Hex, false),
        concat!(
            r#"{"hash":"ff1e1d1c1b1a191817161514131211100f0e0d0c0b0a09080706050403020100","#,
            r#""bytes":"090a6364ff","list":["","07"]}"#,
            "\n"
        )
    );
    let long: Vec<u8> = (0..10_000).map(|i| (i % 251) as u8).collect();
    assert_eq!(line(&Bytes(&long), BytesStyle::Hex, false), format!("\"{}\"\n", HEXLOWER.encode(&long)));
}

#[test]
fn pretty_lines_keep_each_byte_string_on_one_line() {
    assert_eq!(
        line(&sample(), BytesStyle::Array, true),
        "{\n  \"hash\": [0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,255],\n  \
         \"bytes\": [9,10,99,100,255],\n  \"list\": [\n    [],\n    [7]\n  ]\n}\n"
    );
    assert_eq!(line(&(Bytes(&[1]), Vec::<u8>::new(), "a"), BytesStyle::Hex, true), "[\n  \"01\",\n  [],\n  \"a\"\n]\n");
}

#[test]
fn other_serializers_get_arrays_and_the_style_ends_with_its_line() {
    struct Panics;
    impl Serialize for Panics {
        fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            assert_eq!(style().bytes, BytesStyle::Hex);
            panic!("on purpose");
        }
    }

    line(&sample(), BytesStyle::Hex, false);
    assert_eq!(serde_json::to_string(&Bytes(&[1, 2])).unwrap(), "[1,2]");

    let hex = Style { bytes: BytesStyle::Hex, ..Style::default() };
    write_line(&mut Refuses(io::ErrorKind::BrokenPipe), &sample(), hex).unwrap_err();
    assert_eq!(style().bytes, BytesStyle::Array);

    std::panic::catch_unwind(|| write_line(&mut io::sink(), &Panics, hex)).unwrap_err();
    assert_eq!(style().bytes, BytesStyle::Array);
}

struct Refuses(io::ErrorKind);

impl Write for Refuses {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(self.0.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn the_writers_errors_keep_their_kind() {
    for kind in [io::ErrorKind::BrokenPipe, io::ErrorKind::StorageFull] {
        for bytes in [BytesStyle::Array, BytesStyle::Hex] {
            for pretty in [false, true] {
                let error =
                    write_line(&mut Refuses(kind), &HASH, Style { bytes, pretty, ..Style::default() }).unwrap_err();
                assert_eq!(error.kind(), kind);
            }
        }
    }
}

#[test]
fn integers_of_64_bits_are_strings_on_request_and_others_stay_numbers() {
    #[derive(Serialize)]
    struct Numbers(u8, u16, u32, u64, i32, i64, #[serde(with = "AsNumber")] u64);

    let numbers = Numbers(u8::MAX, u16::MAX, u32::MAX, u64::MAX, i32::MIN, i64::MIN, u64::MAX);
    let written = |integers| {
        let mut line = Vec::new();
        write_line(&mut line, &numbers, Style { integers, ..Style::default() }).unwrap();
        String::from_utf8(line).unwrap()
    };
    let others = "[255,65535,4294967295,";
    assert_eq!(
        written(IntegersStyle::Number),
        format!("{others}18446744073709551615,-2147483648,-9223372036854775808,18446744073709551615]\n")
    );
    assert_eq!(
        written(IntegersStyle::String),
        format!("{others}\"18446744073709551615\",-2147483648,\"-9223372036854775808\",18446744073709551615]\n")
    );
    assert_eq!(serde_json::to_string(&numbers).unwrap() + "\n", written(IntegersStyle::Number), "the style has ended");
}

#[test]
fn longer_byte_strings_are_cut_and_the_line_says_so() {
    use crate::{
        event::{
            Event, Kind, Moment, Time,
            net::{ConnectionType, Message, Meta},
        },
        p2p,
    };

    let written = |command, payload: &[u8], style: Style| {
        let msg = p2p::decode(command, payload);
        let meta = Meta::new(7, "a", ConnectionType::Inbound, command, true, payload.len() as u64);
        let kind = Kind::Msg(Message { meta, msg, payload: Some(payload) });
        let mut line = Vec::new();
        write_line(&mut line, &Event { time: Time(0), moment: Moment(0), kind }, style).unwrap();
        String::from_utf8(line).unwrap().split_once("\"msg\":").unwrap().1.trim_end().to_owned()
    };
    let [array, hex] = [BytesStyle::Array, BytesStyle::Hex].map(|bytes| Style { bytes, raw: true, ..Style::default() });
    let at_most = |max_bytes, style| Style { max_bytes: Some(max_bytes), ..style };
    let added = [4, 1, 2, 3, 4];
    let whole = r#"{"Filteradd":{"filter":[1,2,3,4]}},"raw":"0401020304"}}}"#;
    for style in [array, at_most(5, array), at_most(u64::MAX, array)] {
        assert_eq!(written("filteradd", &added, style), whole);
    }
    assert_eq!(
        written("filteradd", &added, at_most(4, array)),
        r#"{"Filteradd":{"filter":[1,2,3,4]}},"raw":"04010203"}},"cut":{"strings":1,"bytes":1}}"#
    );
    assert_eq!(
        written("filteradd", &added, at_most(0, Style { integers: IntegersStyle::String, ..hex })),
        r#"{"Filteradd":{"filter":""}},"raw":""}},"cut":{"strings":2,"bytes":9}}"#
    );
    assert_eq!(
        written("filteradd", &added, at_most(1, hex)),
        r#"{"Filteradd":{"filter":"01"}},"raw":"04"}},"cut":{"strings":2,"bytes":7}}"#
    );
    // Each line counts what it lacks itself.
    assert_eq!(written("filteradd", &[1, 9], at_most(2, hex)), r#"{"Filteradd":{"filter":"09"}},"raw":"0109"}}}"#);
    // What names something stays whole.
    for Sample { command, payload, .. } in samples() {
        let [cut, whole] = [at_most(0, Style { raw: false, ..hex }), Style { raw: false, ..hex }]
            .map(|style| written(command, &payload, style));
        let names = |line: &str| line.split('"').filter(|it| it.len() == 64 || it.len() == 12).count();
        assert_eq!(names(&cut), names(&whole), "{command}: {cut}, {whole}");
        assert!(cut == whole || cut.contains(r#""cut":{"strings":"#), "{command}: {cut}");
    }
    let merkleblock = |style| {
        let header = bitcoin::consensus::serialize(&crate::p2p::tests::samples::header(1));
        written("merkleblock", &[&header[..], &[1, 0, 0, 0, 0, 2, 1, 2]].concat(), Style { raw: false, ..style })
    };
    assert!(merkleblock(array).contains(r#""bits":[true,false,false,false,false,false,false,false,false,true,"#));
    let cut = merkleblock(at_most(1, array));
    assert!(
        cut.contains(
            r#""bits":[true,false,false,false,false,false,false,false],"hashes":[]}}}},"cut":{"strings":1,"bytes":1}}"#
        ),
        "{cut}"
    );
}
