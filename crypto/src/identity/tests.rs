//! Names, signatures and what must not verify.
