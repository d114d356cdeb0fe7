// How many random worlds the property tests of the engine try, and which.

export const oracleRuns = (quick: number): number => Number(process.env.TRIBUTARY_ORACLE_RUNS ?? quick)

/** Another one each time; the name of the test tells it. */
export const freshSeed = (): number => Number(process.env.TRIBUTARY_ORACLE_SEED ?? Math.floor(Math.random() * 2 ** 31))
