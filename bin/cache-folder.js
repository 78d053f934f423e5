/** Where caches go; for the command's first step, which is plain JavaScript, as for the program. */
// Not by `require`, which the library, where this is a part of an ES module, does not have.
const { homedir } = process.getBuiltinModule('node:os');
const { join } = process.getBuiltinModule('node:path');

/** DOMUS_CACHE, or `domus` in XDG_CACHE_HOME or ~/.cache. */
function defaultCacheFolder(environment = process.env) {
  if (environment.DOMUS_CACHE) return environment.DOMUS_CACHE;
  // The XDG rules: a relative path there is to be ignored.
  const xdg = environment.XDG_CACHE_HOME;
  return join(xdg?.startsWith('/') ? xdg : join(homedir(), '.cache'), 'domus');
}

module.exports = { defaultCacheFolder };
