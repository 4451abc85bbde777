//! Why a migration failed, as MigrationFailed carries it (PROTOCOL.md §3).

/// The reason and what its code carries. Texts are at most 65,535 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureReason<'a> {
    NotReady,
    FactoryNotFound,
    ComputeNotSupported,
    StateFailed(&'a str),
    AlreadyMigrating,
    IdentityTransportFailed(&'a str),
    NotReadyTimeout { attempts: u8 },
}

impl FailureReason<'_> {
    pub const fn code(&self) -> u16 {
        match self {
            FailureReason::NotReady => 0,
            FailureReason::FactoryNotFound => 1,
            FailureReason::ComputeNotSupported => 2,
            FailureReason::StateFailed(_) => 3,
            FailureReason::AlreadyMigrating => 4,
            FailureReason::IdentityTransportFailed(_) => 5,
            FailureReason::NotReadyTimeout { .. } => 6,
        }
    }

    /// Only NotReady may be retried.
    pub const fn is_retriable(&self) -> bool {
        matches!(self, FailureReason::NotReady)
    }
}
