//! `policy_yaml` for libFuzzer; what it does stands in `fuzz/src`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weft_fuzz_targets::run("policy_yaml", data));
