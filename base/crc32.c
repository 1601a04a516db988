/* SPDX-License-Identifier: Apache-2.0 */
#include "base/crc32.h"

uint32_t crc32_gpt(const uint8_t *p, size_t n)
{
        uint32_t crc = UINT32_MAX;

        for (size_t i = 0; i < n; i++) {
                crc ^= p[i];
                for (int bit = 0; bit < 8; bit++)
                        crc = crc >> 1 ^ (crc & 1 ? UINT32_C(0xedb88320) : 0);
        }
        return ~crc;
}
