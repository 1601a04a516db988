/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/userdata_table.h"

#include <stddef.h>
#include <string.h>

#define NO_SOURCE "user data comes from this node alone"
#define NO_MERGE "files are merged as this page says"
#define CONDITION "steps with conditions are left out"

/* clang-format off */
const struct userdata_key userdata_top_keys[] = {
        {"hostname", USERDATA_BOTH, NULL},
        {"fqdn", USERDATA_BOTH, NULL},
        {"users", USERDATA_BOTH, NULL},
        {"groups", USERDATA_BOTH, NULL},
        {"write_files", USERDATA_BOTH, NULL},
        {"bootcmd", USERDATA_BOTH, NULL},
        {"runcmd", USERDATA_BOTH, NULL},
        {"ansible", USERDATA_CLOUD, NULL},
        {"apk_repos", USERDATA_CLOUD, NULL},
        {"apt", USERDATA_CLOUD, NULL},
        {"apt_pipelining", USERDATA_CLOUD, NULL},
        {"ca-certs", USERDATA_CLOUD, NULL},
        {"ca_certs", USERDATA_CLOUD, NULL},
        {"chef", USERDATA_CLOUD, NULL},
        {"chpasswd", USERDATA_CLOUD, NULL},
        {"device_aliases", USERDATA_CLOUD, NULL},
        {"disable_root", USERDATA_CLOUD, NULL},
        {"disable_root_opts", USERDATA_CLOUD, NULL},
        {"disk_setup", USERDATA_CLOUD, NULL},
        {"final_message", USERDATA_CLOUD, NULL},
        {"fs_setup", USERDATA_CLOUD, NULL},
        {"growpart", USERDATA_CLOUD, NULL},
        {"keyboard", USERDATA_CLOUD, NULL},
        {"locale", USERDATA_CLOUD, NULL},
        {"locale_configfile", USERDATA_CLOUD, NULL},
        {"lxd", USERDATA_CLOUD, NULL},
        {"manage_etc_hosts", USERDATA_CLOUD, NULL},
        {"manage_resolv_conf", USERDATA_CLOUD, NULL},
        {"mount_default_fields", USERDATA_CLOUD, NULL},
        {"mounts", USERDATA_CLOUD, NULL},
        {"network", USERDATA_CLOUD, NULL},
        {"no_ssh_fingerprints", USERDATA_CLOUD, NULL},
        {"ntp", USERDATA_CLOUD, NULL},
        {"package_update", USERDATA_CLOUD, NULL},
        {"package_upgrade", USERDATA_CLOUD, NULL},
        {"packages", USERDATA_CLOUD, NULL},
        {"password", USERDATA_CLOUD, NULL},
        {"phone_home", USERDATA_CLOUD, NULL},
        {"prefer_fqdn_over_hostname", USERDATA_CLOUD, NULL},
        {"preserve_hostname", USERDATA_CLOUD, NULL},
        {"puppet", USERDATA_CLOUD, NULL},
        {"random_seed", USERDATA_CLOUD, NULL},
        {"resize_rootfs", USERDATA_CLOUD, NULL},
        {"resolv_conf", USERDATA_CLOUD, NULL},
        {"rsyslog", USERDATA_CLOUD, NULL},
        {"salt_minion", USERDATA_CLOUD, NULL},
        {"snap", USERDATA_CLOUD, NULL},
        {"ssh", USERDATA_CLOUD, NULL},
        {"ssh_authorized_keys", USERDATA_CLOUD, NULL},
        {"ssh_deletekeys", USERDATA_CLOUD, NULL},
        {"ssh_genkeytypes", USERDATA_CLOUD, NULL},
        {"ssh_import_id", USERDATA_CLOUD, NULL},
        {"ssh_keys", USERDATA_CLOUD, NULL},
        {"ssh_publish_hostkeys", USERDATA_CLOUD, NULL},
        {"ssh_pwauth", USERDATA_CLOUD, NULL},
        {"ssh_quiet_keygen", USERDATA_CLOUD, NULL},
        {"swap", USERDATA_CLOUD, NULL},
        {"timezone", USERDATA_CLOUD, NULL},
        {"user", USERDATA_CLOUD, NULL},
        {"wireguard", USERDATA_CLOUD, NULL},
        {"yum_repos", USERDATA_CLOUD, NULL},
        {"zypper", USERDATA_CLOUD, NULL},
        {"autoinstall", USERDATA_REFUSED, "the installation is the section install"},
        {"cloud_config_modules", USERDATA_REFUSED, "the image says what runs"},
        {"cloud_final_modules", USERDATA_REFUSED, "the image says what runs"},
        {"cloud_init_modules", USERDATA_REFUSED, "the image says what runs"},
        {"datasource", USERDATA_REFUSED, NO_SOURCE},
        {"datasource_list", USERDATA_REFUSED, NO_SOURCE},
        {"merge_how", USERDATA_REFUSED, NO_MERGE},
        {"merge_type", USERDATA_REFUSED, NO_MERGE},
        {"power_state", USERDATA_REFUSED, "it would end every boot"},
        {"reporting", USERDATA_REFUSED, "the image says who is told"},
        {"system_info", USERDATA_REFUSED, "the image says what it is"},
        {"vendor_data", USERDATA_REFUSED, NO_SOURCE},
        {NULL, USERDATA_REFUSED, NULL}};

const struct userdata_key userdata_step_keys[] = {
        {"authorized_keys", USERDATA_BOTH, NULL},
        {"commands", USERDATA_BOTH, NULL},
        {"directories", USERDATA_BOTH, NULL},
        {"dns", USERDATA_BOTH, NULL},
        {"files", USERDATA_BOTH, NULL},
        {"hostname", USERDATA_BOTH, NULL},
        {"modules", USERDATA_BOTH, NULL},
        {"sysctl", USERDATA_BOTH, NULL},
        {"systemctl", USERDATA_BOTH, NULL},
        {"timesyncd", USERDATA_BOTH, NULL},
        {"users", USERDATA_BOTH, NULL},
        {"name", USERDATA_SKIP, NULL},
        {"after", USERDATA_STEP, "steps run in the order in which they stand"},
        {"if", USERDATA_STEP, CONDITION},
        {"if_arch", USERDATA_STEP, CONDITION},
        {"if_files", USERDATA_STEP, CONDITION},
        {"if_service_manager", USERDATA_STEP, CONDITION},
        {"node", USERDATA_STEP, CONDITION},
        {"only_arch", USERDATA_STEP, CONDITION},
        {"only_os", USERDATA_STEP, CONDITION},
        {"only_os_version", USERDATA_STEP, CONDITION},
        {"only_service_manager", USERDATA_STEP, CONDITION},
        {"datasource", USERDATA_REFUSED, NO_SOURCE},
        {"delete_entities", USERDATA_REFUSED, "accounts are those of the image and of users"},
        {"downloads", USERDATA_REFUSED, "nothing is fetched; give files"},
        {"dracut", USERDATA_REFUSED, "the image is built elsewhere"},
        {"ensure_entities", USERDATA_REFUSED, "give users"},
        {"environment", USERDATA_REFUSED, "give files"},
        {"environment_file", USERDATA_REFUSED, "give files"},
        {"git", USERDATA_REFUSED, "nothing is fetched; give files"},
        {"layout", USERDATA_REFUSED, "partitions are made by the section install"},
        {"packages", USERDATA_REFUSED, "what belongs to the system is in its image"},
        {"systemd_firstboot", USERDATA_REFUSED, "give hostname, users or files"},
        {"unpack_images", USERDATA_REFUSED, "what belongs to the system is in its image"},
        {NULL, USERDATA_REFUSED, NULL}};
/* clang-format on */

const char *const userdata_stages[] = {"rootfs", "initramfs", "boot", "fs", "network", NULL};

const struct userdata_key *userdata_table_find(const struct userdata_key *table, const char *name)
{
        for (; table->name; table++) {
                if (strcmp(table->name, name) == 0)
                        return table;
        }
        return NULL;
}
