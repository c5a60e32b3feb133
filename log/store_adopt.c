/* Saying what a store is that was copied or moved.
 *
 * Both begin with a start in full: what the journal of a store that was moved holds goes into its files, and that of a
 * copy is thrown away, as at any start. After that the files hold everything, and a new id costs nothing: a crash
 * between the new id and the checkpoint that knows it leaves a store without a checkpoint, which reads more at its next
 * start. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "log/error.h"
#include "log/store.h"

static int become_another(struct tlog_store *store)
{
    int r = tlog_upkeep_flush_all(store);
    if (r < 0)
        return r;
    store->ground.io->random(store->ground.io, store->id, sizeof store->id);
    memcpy(store->ground.journal.store_id, store->id, sizeof store->id);
    r = tlog_store_write_id(store);
    return r < 0 ? r : tlog_journal_renew(&store->ground.journal);
}

int tlog_store_settle(const struct tlog_options *options, const char *path, bool clone, struct tlog_error *error)
{
    struct tlog_options own = *options;
    struct tlog_store *store;
    own.create = own.read_only = false;
    own.no_upkeep = true;
    int r = tlog_store_open(&store, path, &own, error);
    if (r < 0)
        return r;
    store->unsettled = false;
    r = clone ? become_another(store) : tlog_store_write_id(store);
    if (r < 0)
        tlog_error_set(error, "%s: id: %s", path, strerror(-r));
    int closed = tlog_store_close(store, r < 0 ? NULL : error);
    return r < 0 ? r : closed;
}

int tlog_adopt(const char *path, struct tlog_error *error)
{
    return tlog_store_settle(&(struct tlog_options){0}, path, false, error);
}

int tlog_clone(const char *path, struct tlog_error *error)
{
    return tlog_store_settle(&(struct tlog_options){0}, path, true, error);
}
