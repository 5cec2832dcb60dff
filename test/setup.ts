import fc from "fast-check";

/** In CI the same cases every time, so that a change is judged by what it changed; elsewhere new ones each run. */
const CI_SEED = 20_261_121;

if (process.env.CI) fc.configureGlobal({ ...fc.readConfigureGlobal(), seed: CI_SEED });
