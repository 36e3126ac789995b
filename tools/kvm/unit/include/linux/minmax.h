/* SPDX-License-Identifier: GPL-2.0-only */
/* In the kernel's tools/include, min() and max() live in kernel.h. */
#include <linux/kernel.h>
