//! What this CPU is good at.

/// Whether AES-256-GCM is the faster suite here: the CPU has instructions for both AES and the carry-less product of
/// GCM. Where it has, it outran ChaCha20-Poly1305 in every measurement of `docs/decisions/0001-aead-backends.md`.
pub(super) fn has_fast_aes() -> bool {
    #[cfg(target_arch = "x86_64")]
    let fast = std::arch::is_x86_feature_detected!("aes")
        && std::arch::is_x86_feature_detected!("pclmulqdq");
    #[cfg(target_arch = "aarch64")]
    let fast = std::arch::is_aarch64_feature_detected!("aes")
        && std::arch::is_aarch64_feature_detected!("pmull");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let fast = false;
    fast
}
