/* Verification of one sealed segment: every frame decompressed, every entry's chain computed again from the data.
 *
 * Any thread; the file must be open for as long as it takes. */
#ifndef TLOG_VERIFY_SEALED_H
#define TLOG_VERIFY_SEALED_H

#include "log/sealed.h"

struct tlog_sealed_check {
    const struct tlog_sealed *sealed;
    void (*each)(void *arg, const struct tlog_entry *entry); /* for every entry that is good, in order */
    void (*damage)(void *arg, const char *what);             /* for every piece of damage, a sentence */
    void *arg;
};

/* 0 when it could be read through, whatever was found; -EIO, -ENOMEM. */
int tlog_sealed_check(const struct tlog_sealed_check *check);

#endif
