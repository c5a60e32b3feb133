/* Whether a log holds exactly what the writers of streams wrote into it. */
#ifndef CHECK_H
#define CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A file shared by writers and checker: for each writer what write(2) has accepted of its stream. It outlives a
 * writer that is killed. `path` NULL: nothing is known. Exits with a message when it cannot be mapped. */
struct ack {
    _Atomic uint64_t accepted; /* bytes of the stream that write(2) returned */
    _Atomic uint64_t asked;    /* bytes that the write under way would bring it to, at most */
    uint64_t payload_max;
};
struct ack *ack_map(const char *path, bool writable);

/* Checks data[0, length): lines whole, each writer's in order and once, everything accepted there, and nothing
 * that was never asked. Where `acks` is NULL, the writers' ends are not judged. Prints counts on stdout, the first
 * thing that is wrong on stderr; returns whether all is well. */
bool check_log(const char *data, size_t length, const struct ack *acks);

#endif
