//! What this CPU has for AES. The answer never changes while the process runs.

/// The instructions for AES-GCM, from none to the widest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum AesUnit {
    /// None: AES-GCM runs in software, slower than ChaCha20.
    Software,
    /// One block at a time: AES-NI and PCLMULQDQ on x86-64, the AES and PMULL instructions on AArch64.
    Single,
    /// Two blocks at a time: x86-64 with VAES and VPCLMULQDQ on AVX2.
    Wide256,
    /// Four blocks at a time: x86-64 with the same on AVX-512.
    Wide512,
}

impl AesUnit {
    /// What there is here.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn detect() -> Self {
        use std::arch::is_x86_feature_detected as has;
        if !(has!("aes") && has!("pclmulqdq")) {
            Self::Software
        } else if !(has!("avx2") && has!("vaes") && has!("vpclmulqdq")) {
            Self::Single
        } else if !(has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl")) {
            Self::Wide256
        } else {
            Self::Wide512
        }
    }

    /// What there is here.
    #[cfg(target_arch = "aarch64")]
    pub(crate) fn detect() -> Self {
        use std::arch::is_aarch64_feature_detected as has;
        if has!("aes") && has!("pmull") { Self::Single } else { Self::Software }
    }

    /// What there is here.
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    pub(crate) fn detect() -> Self {
        Self::Software
    }
}
