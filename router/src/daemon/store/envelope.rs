//! One file: a header line, a checksum, the content.
//!
//! ```text
//! weft-file 1 <kind>\n        magic, version of the envelope, kind
//! <64 hexadecimal digits>\n   SHA-256 of the content
//! content
//! ```

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use super::StoreError;

/// The content of the file, or `None` where there is no such file.
pub(super) fn read(dir: &Path, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
    let path = dir.join(name);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(StoreError::Io { action: "read", path, source }),
    };
    match open(name, &bytes) {
        Ok(content) => Ok(Some(content.to_vec())),
        Err(what) => Err(StoreError::Damaged { path, what, dir: dir.to_path_buf() }),
    }
}

/// Replaces the file. When this returns `Ok`, the new content is on disk; else the old one is.
pub(super) fn write(dir: &Path, name: &str, content: &[u8]) -> Result<(), StoreError> {
    replace(dir, name, content).map_err(|source| StoreError::Io {
        action: "write",
        path: dir.join(name),
        source,
    })
}

fn replace(dir: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    // Mode 0600 from the start: `tempfile` makes it so.
    let mut file = NamedTempFile::with_prefix_in(format!(".{name}."), dir)?;
    file.write_all(header(name, content).as_bytes())?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    file.persist(dir.join(name)).map_err(|e| e.error)?;
    File::open(dir)?.sync_all()
}

fn header(name: &str, content: &[u8]) -> String {
    let mut header = format!("weft-file 1 {name}\n");
    for byte in Sha256::digest(content) {
        header.push_str(&format!("{byte:02x}"));
    }
    header.push('\n');
    header
}

fn open<'a>(name: &str, bytes: &'a [u8]) -> Result<&'a [u8], &'static str> {
    let rest = bytes
        .strip_prefix(format!("weft-file 1 {name}\n").as_bytes())
        .ok_or("not a file of this kind and version")?;
    let content = rest.get(65..).ok_or("cut short")?;
    if bytes.starts_with(header(name, content).as_bytes()) {
        Ok(content)
    } else {
        Err("the checksum does not match")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_every_truncation() {
        let dir = tempfile::tempdir().unwrap();
        assert!(read(dir.path(), "x").unwrap().is_none());
        write(dir.path(), "x", b"one").unwrap();
        write(dir.path(), "x", b"two two").unwrap();
        assert_eq!(read(dir.path(), "x").unwrap().unwrap(), b"two two");
        let whole = fs::read(dir.path().join("x")).unwrap();
        for cut in 0..whole.len() {
            fs::write(dir.path().join("x"), &whole[..cut]).unwrap();
            assert!(read(dir.path(), "x").is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn kinds_are_not_mixed_up() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "x", b"content").unwrap();
        fs::rename(dir.path().join("x"), dir.path().join("y")).unwrap();
        assert!(read(dir.path(), "y").is_err());
    }
}
