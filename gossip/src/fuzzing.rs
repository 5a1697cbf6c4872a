//! Entry points for the fuzz targets in `fuzz/`. Not an interface: it changes with what is behind it.

use weft_crypto::Identity;

use crate::message::{Message, Push};
use crate::record::Record;
use crate::{Key, Kind};

/// The bytes of a message that carries one record, rightly signed by `identity`, whatever it says.
pub fn push(identity: &Identity, key: Key, version: u64, value: Option<Vec<u8>>) -> Vec<u8> {
    let record = Record::sign(identity, key, version, value);
    Message::Push(Push { records: vec![record.signed().clone()] }).encode()
}

/// What the records of a message say, for seeds.
pub fn values(message: &[u8]) -> Vec<(Kind, Vec<u8>)> {
    let records = match Message::decode(message) {
        Ok(Message::Push(push)) => push.records,
        Ok(Message::Delta(delta)) => {
            delta.spans.into_iter().flat_map(|span| span.records).collect()
        }
        _ => Vec::new(),
    };
    let records = records.into_iter().filter_map(|record| Record::decode(record).ok());
    records.filter_map(|record| Some((record.key().kind, record.value()?.to_vec()))).collect()
}
