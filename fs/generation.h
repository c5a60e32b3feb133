/* Generations of a partition's file: one node each, from one trim of the head to the next.
 *
 * What is open goes on in its generation: byte 0 stays what it was, and while there are readers a pin keeps what was
 * trimmed since readable, as far as the log's pin.bytes and pin.ms go; then a read down there is ESTALE. A name leads
 * to the newest generation. The kernel remembers where a name led, so after a trim it is told to forget (notify.h);
 * what it asks by the old name before it has heard that is answered ESTALE, and then it looks the name up again.
 *
 * Once it has heard, nothing that asks for an old generation comes by the name: it comes by /dev/stdin, by
 * /proc/self/fd or by an O_PATH descriptor, and is answered. Any thread. */
#ifndef TFS_GENERATION_H
#define TFS_GENERATION_H

#include <stdbool.h>

#include "node.h"

/* An open file on the node is to be made. -ESTALE: the name leads elsewhere, or what a reader would read is gone. */
int tfs_generation_open(struct tfs_node *node, bool reads);
/* One that was made is closed. */
void tfs_generation_close(struct tfs_node *node, bool reads);
/* Whether what the kernel asks without an open file comes by a name that leads elsewhere by now. */
bool tfs_generation_left(struct tfs_node *node);
/* The kernel has forgotten the name: if the node is an old generation, it leads there no more. */
void tfs_generation_unname(struct tfs_node *node);

#endif
