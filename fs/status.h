/* The texts of .status and .offsets. */
#ifndef TFS_STATUS_H
#define TFS_STATUS_H

#include <stdio.h>

struct tfs;
struct tlog_topic;

/* How the store does, for people. */
void tfs_status_store(struct tfs *fs, FILE *to);
/* How a topic does. */
void tfs_status_topic(struct tlog_topic *topic, FILE *to);
/* A line a partition: `partition start end committed records bytes`. */
void tfs_offsets_topic(struct tlog_topic *topic, FILE *to);

#endif
