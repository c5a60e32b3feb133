/* Names of partitions inside a topic's directory: `0`, `17`, and the doors `0@append`. Pure. */
#ifndef TFS_NAME_H
#define TFS_NAME_H

#include <stdbool.h>

enum tfs_name { TFS_NAME_OTHER, TFS_NAME_PARTITION, TFS_NAME_DOOR };

/* Decimal without leading zeros, as partitions are numbered; else TFS_NAME_OTHER. */
enum tfs_name tfs_name_parse(const char *name, unsigned *number);

#endif
