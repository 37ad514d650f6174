/* core/random.h, under the name that problems and sweeps know it by. */
#ifndef TNL_VERIFY_RANDOM_H
#define TNL_VERIFY_RANDOM_H

#include "core/random.h"

#endif
