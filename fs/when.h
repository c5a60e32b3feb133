/* Instants as they are named in `.at/`: `2026-11-22T10:00:00Z`, also with a fraction of a second, `2026-11-22` (its
 * first moment, UTC), `-15m` `-2h` `-3d` ago. Pure. */
#ifndef TFS_WHEN_H
#define TFS_WHEN_H

#include <stdbool.h>
#include <stdint.h>

/* False: it is none of these. A time that counts back from `now_ns` is `relative`. */
bool tfs_when_parse(const char *text, int64_t now_ns, int64_t *time_ns, bool *relative);

#endif
