/* The file STORE/spare: some blocks kept back, so that a full disk can be mended by trimming, deleting and changing the
 * configuration, all of which write a little before they free anything. Any thread. */
#ifndef TLOG_SPARE_H
#define TLOG_SPARE_H

#include "log/ground.h"

/* Takes the blocks, unless they are there; where there is no room, somebody calls it again later. */
void tlog_spare_keep(struct tlog_ground *ground);
/* Gives the blocks up when `result` says that the disk is full: true, what failed may be tried again. Then
 * tlog_spare_keep. */
bool tlog_spare_use(struct tlog_ground *ground, int result);

#endif
