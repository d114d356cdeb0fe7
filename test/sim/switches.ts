// Switches of the simulated machine for planted bugs (planted/planted.ts); all off otherwise.
export const switches = {
  /** Syncs of the journals answer at once. */
  trustsJournal: false,
  /** Syncs of the events log answer at once. */
  trustsEvents: false,
  /** Syncs of the transitions log answer at once. */
  trustsOutputs: false,
  /** Messages between partitions are confirmed on arrival. */
  confirmsEarly: false,
  /** An owner of a claimed journal takes the answer to an append for the truth. */
  trustsAppends: false,
  /** An owner of a claimed journal passes over the claims of others. */
  ignoresClaims: false,
  /** No turn of a host's loop is ever used up: the bounds of planted bugs were found so. */
  neverSpent: false,
  /** The engine knows no limits of identifiers. */
  forgetsGuards: false,
}
