# shellcheck shell=bash disable=SC2034,SC2154
# OpenStack on one node: keystone, glance, placement, nova and masakari; a stand-in for neutron, without networks.
packages=(mariadb-server rabbitmq-server keystone glance-api placement-api nova-api nova-conductor nova-scheduler nova-compute nova-compute-qemu
  libvirt-daemon-system libvirt-clients qemu-system-x86 qemu-utils masakari-api masakari-engine uwsgi-plugin-python3 openssl
  python3-openstackclient python3-masakariclient python3-pymysql python3-oslo.messaging python3-keystoneauth1 python3-grpcio python3-protobuf)
selections=''  # the databases are made by the checks
for package in keystone/keystone glance-common/glance placement-common/placement nova-common/nova nova-common/nova-api masakari-common/masakari; do
  selections+="${package%/*} ${package#*/}/configure_db boolean false"$'\n'
done
hostname=node1.example
timeout=7200 patience=900
readonly hooks=/usr/share/doc/vmeventd/examples/hooks
readonly cloud=(keystone glance-api placement-api nova-conductor nova-scheduler nova-api nova-compute nova-api-metadata masakari-api masakari-engine)

database() { echo "connection = mysql+pymysql://cloud:secret@127.0.0.1/$1?charset=utf8"; }

# login USER: the settings with which a service logs in to keystone.
login() {
  printf '%s\n' auth_type=password auth_url=http://127.0.0.1:5000/v3 www_authenticate_uri=http://127.0.0.1:5000/v3 "username=$1" \
    password=secret project_name=service user_domain_name=Default project_domain_name=Default region_name=RegionOne
}

configure_nova() {
  cat <<CONF
[DEFAULT]
my_ip = 127.0.0.1
host = $hostname
log_dir = /var/log/nova
state_path = /var/lib/nova
lock_path = /var/lock/nova
compute_driver = libvirt.LibvirtDriver
transport_url = rabbit://guest:guest@127.0.0.1:5672/
enabled_apis = osapi_compute
osapi_compute_workers = 2
force_raw_images = false
reserved_host_memory_mb = 128
ram_allocation_ratio = 8
cpu_allocation_ratio = 64
disk_allocation_ratio = 8
rpc_response_timeout = 180
sync_power_state_interval = 60
[conductor]
workers = 1
[scheduler]
workers = 1
[api]
auth_strategy = keystone
[api_database]
$(database nova_api)
[database]
$(database nova)
[glance]
api_servers = http://127.0.0.1:9292
[oslo_concurrency]
lock_path = /var/lock/nova
[vnc]
enabled = false
[libvirt]
virt_type = qemu
[placement]
$(login nova)
[neutron]
$(login nova)
[keystone_authtoken]
$(login nova)
CONF
}

configure_masakari() {
  cat <<CONF
[DEFAULT]
log_dir = /var/log/masakari
transport_url = rabbit://guest:guest@127.0.0.1:5672/
auth_strategy = keystone
masakari_api_workers = 1
os_privileged_user_name = masakari
os_privileged_user_password = secret
os_privileged_user_tenant = service
os_privileged_user_auth_url = http://127.0.0.1:5000/v3
os_user_domain_name = Default
os_project_domain_name = Default
os_region_name = RegionOne
nova_catalog_admin_info = compute:nova:internalURL
process_unfinished_notifications_interval = 30
retry_notification_new_status_interval = 10
[database]
$(database masakari)
[wsgi]
api_paste_config = /etc/masakari/api-paste.ini
[keystone_authtoken]
$(login masakari)
CONF
}

# prepare ROOT: the settings. The checks start the services, once there are their databases.
prepare() {
  local root=$1 service
  printf '127.0.0.1 localhost\n127.0.0.1 %s node1\n' "$hostname" >"$root/etc/hosts"
  for service in "${cloud[@]}"; do
    find "$root/etc/systemd/system" -name "$service.service" -path '*.wants/*' -delete
  done
  printf '[token]\nprovider = fernet\nexpiration = 86400\n[database]\n%s\n' "$(database keystone)" >"$root/etc/keystone/keystone.conf"
  printf '[placement_database]\n%s\n[api]\nauth_strategy = keystone\n[keystone_authtoken]\n%s\n' \
    "$(database placement)" "$(login placement)" >"$root/etc/placement/placement.conf"
  cat >"$root/etc/glance/glance-api.conf" <<CONF
[database]
$(database glance)
[glance_store]
stores = file
default_store = file
filesystem_store_datadir = /var/lib/glance/images/
[paste_deploy]
flavor = keystone
[keystone_authtoken]
$(login glance)
CONF
  configure_nova >"$root/etc/nova/nova.conf"
  configure_masakari >"$root/etc/masakari/masakari.conf"
  # A container has neither cgroups nor namespaces of its own to give away.
  printf '%s\n' 'namespaces = []' 'cgroup_controllers = []' 'security_driver = "none"' 'user = "root"' 'group = "root"' \
    >>"$root/etc/libvirt/qemu.conf"
  # Neither many processes nor AppArmor; nor a connection that ends while the client begins its next request.
  sed -i -e '/^\[uwsgi\]/a add-header = Connection: close' -e 's/^processes = .*/processes = 2/' -e 's/^threads = 32/threads = 4/' -e 's/,apparmor$//' -e '/^apparmor-profile/d' \
    "$root"/etc/*/*-uwsgi.ini
  install -D "$here/no_network.py" "$root/opt/no_network.py"
  cp "$package_dir"/python3-vmeventd_*.deb "$root/root/python3-vmeventd.deb"
  printf '%s\n' 'export OS_AUTH_URL=http://127.0.0.1:5000/v3 OS_USERNAME=admin OS_PASSWORD=secret OS_PROJECT_NAME=admin' \
    'export OS_USER_DOMAIN_NAME=Default OS_PROJECT_DOMAIN_NAME=Default OS_REGION_NAME=RegionOne OS_COMPUTE_API_VERSION=2.90' >"$root/opt/admin"
}

as() { runuser -u "$1" -- "${@:2}"; }
quietly() { "$@" >/root/quiet 2>&1 || { cat /root/quiet >&2; fail "$*"; }; }
answers() { wait_for "$1 answers" bash -c "curl -s -o /dev/null http://127.0.0.1:$2"; }

make_databases() {
  step "databases"
  wait_for "MariaDB" mysqladmin ping
  local name
  for name in keystone glance placement nova nova_api nova_cell0 masakari; do
    mysql -e "CREATE DATABASE $name CHARACTER SET utf8"
  done
  mysql -e "CREATE USER cloud@'%' IDENTIFIED BY 'secret'; GRANT ALL ON *.* TO cloud@'%'"
  quietly as keystone keystone-manage db_sync
  quietly as glance glance-manage db_sync
  quietly as placement placement-manage db sync
  quietly as nova nova-manage api_db sync
  quietly as nova nova-manage cell_v2 map_cell0
  quietly as nova nova-manage db sync
  quietly as nova nova-manage cell_v2 create_cell --name cell1
  quietly as masakari masakari-manage db sync
}

make_identity() {
  step "keystone"
  quietly keystone-manage fernet_setup --keystone-user keystone --keystone-group keystone
  quietly keystone-manage credential_setup --keystone-user keystone --keystone-group keystone
  local url=http://127.0.0.1:5000/v3
  quietly as keystone keystone-manage bootstrap --bootstrap-password secret --bootstrap-region-id RegionOne \
    --bootstrap-admin-url $url --bootstrap-internal-url $url --bootstrap-public-url $url
  systemctl start keystone
  answers keystone 5000
  local commands=/root/identity user interface name type address
  printf '%s\n' "project create service" "project create demo" "role create service" \
    "user create --password secret --project demo alice" "role add --user alice --project demo member" >$commands
  for user in glance placement nova masakari; do
    printf '%s\n' "user create --password secret --project service $user" "role add --user $user --project service admin" \
      "role add --user $user --project service service" >>$commands
  done
  while read -r name type address; do
    echo "service create --name $name $type"
    for interface in public internal admin; do
      echo "endpoint create --region RegionOne $type $interface http://127.0.0.1:$address"
    done
  done >>$commands <<'SERVICES'
glance image 9292
placement placement 8778
nova compute 8774/v2.1
neutron network 9696
masakari instance-ha 15868/v1
SERVICES
  quietly openstack <$commands
}

make_images() {
  step "glance"
  systemctl start glance-api
  answers glance 9292
  truncate -s 4M /root/disk.raw
  local make=(openstack image create --public -f value -c id) kernel initrd
  kernel=$("${make[@]}" --container-format aki --disk-format aki --file /root/guest/vmlinux kernel)
  initrd=$("${make[@]}" --container-format ari --disk-format ari --file /root/guest/initrd initrd)
  make+=(--container-format bare --disk-format raw --file /root/disk.raw --property "kernel_id=$kernel" --property "ramdisk_id=$initrd"
    --property "os_command_line=console=ttyS0")
  quietly "${make[@]}" guest
  quietly "${make[@]}" --property hw_qemu_guest_agent=yes guest-with-agent
}

start_nova() {
  step "placement and nova"
  systemctl start placement-api
  systemd-run --quiet --unit=no-network python3 /opt/no_network.py
  systemctl start nova-conductor nova-scheduler nova-api nova-compute
  answers placement 8778
  answers nova 8774
  answers "the stand-in for neutron" 9696
  quietly openstack flavor create --ram 160 --disk 1 --vcpus 1 small
  wait_for "the node is found" bash -c "nova-manage cell_v2 discover_hosts; openstack hypervisor list -f value -c 'Hypervisor Hostname' | grep -Fx $hostname"
}

# The page's settings of nova, its policy for queues, TLS, and the hook as its unit says.
follow_page() {
  step "the page: settings, TLS, hook"
  # shellcheck disable=SC2016  # no command
  sed -n '/^```ini$/,/^```$/{/^```/d;p}' /usr/share/doc/vmeventd/act.md >>/etc/nova/nova.conf
  systemctl restart nova-compute
  follow 1 act.md "Hooks that declare intents"
  mkdir /root/ca
  cd /root/ca || exit
  local n page=/usr/share/doc/vmeventd/security.md
  for n in 1 2 3 4; do
    follow $n security.md "TLS, step by step"
  done
  sed -n '/^## TLS, step by step/,/^## /s/^ *\(\(listen\|tls-[a-z-]*\) = \)/\1/p' "$page" >>/etc/vmeventd/vmeventd.conf
  vmeventd --check-config --config /etc/vmeventd/vmeventd.conf
  systemctl enable vmeventd
  systemctl restart vmeventd
  cp mover.crt tls.crt
  cp mover.key tls.key
  cp $hooks/nova_notifications.py $hooks/nova-vmeventd.service .
  bash -e -c "$(sed -n 's/^#   //p' nova-vmeventd.service)"
  cd /root || exit
  wait_for "the hook's queue" bash -c "rabbitmqctl -q list_queues | grep -q vmeventd"
}

# alice COMMAND...: runs a command of the openstack client as a user who is no admin.
alice() { OS_USERNAME=alice OS_PROJECT_NAME=demo openstack "$@"; }
# Compares the server's status, and that it has no task.
is_in() { [[ $(openstack server show -f value -c OS-EXT-STS:task_state -c status "$server" | xargs) == "None $1" ]]; }
has_status() { wait_for "$name is $1" is_in "$1"; }
qemu_pid() { cat "/run/libvirt/qemu/$vm.pid"; }

# make_server NAME IMAGE: sets name, server (its UUID) and vm (its domain), which the other functions take.
make_server() {
  name=$1
  quietly alice server create --image "$2" --flavor small --nic none --wait "$1"
  server=$(alice server show -f value -c id "$1")
  vm=$(openstack server show -f value -c OS-EXT-SRV-ATTR:instance_name "$server")
  followed "$vm"
  guest true
}

# guest COMMAND: types it on the guest's console once a shell reads that, and sees that the shell has read it.
guest() {
  python3 - "$vm" "$1" <<'P'
import os, select, subprocess, sys, time, tty
vm, command = sys.argv[1:]
deadline = time.monotonic() + 600
path = subprocess.run(["virsh", "-q", "ttyconsole", vm], capture_output=True, check=True, text=True).stdout.strip()
console = os.open(path, os.O_RDWR | os.O_NOCTTY)
tty.setraw(console)

def type_until(line, answer, once=False):
    seen = b""
    typed = None
    while answer not in seen:
        assert time.monotonic() < deadline, seen[-500:]
        if typed is None or (not once and time.monotonic() - typed > 3):
            os.write(console, line)
            typed = time.monotonic()
        if select.select([console], [], [], 0.5)[0]:
            try:
                part = os.read(console, 4096)
            except OSError:
                part = b""
            if once and not part:
                return  # QEMU is gone, and with it what nobody had read yet
            seen += part

type_until(b"echo READY$((6*7))\n", b"READY42")
type_until(b"echo READ$((6*7)); " + command.encode() + b"\n", b"READ42", once=True)
P
}

start_server() {
  has_status SHUTOFF
  alice server start "$server"
  followed "$vm"
  has_status ACTIVE
  guest true
}

why_has() { vmevents --color never why "$1" | grep -qF "$2"; }
intent_is_open() { [[ -n $(vmevents -o jsonl intent list) ]]; }
no_intent() { ! intent_is_open; }

check_operations() {
  step "openstack server stop"
  alice server stop "$server"
  ended "$vm" ADMIN HOST_POWERDOWN "openstack server stop"
  # The guest may be off before the hook has read the notification.
  wait_for "why names who did it" why_has "$name" "power off by alice (project demo), req-"
  passed "why takes nova's name, and has user and project by name"
  start_server

  step "openstack server reboot --soft"
  alice server reboot --soft "$server"
  ended "$vm" ADMIN HOST_POWERDOWN "openstack server reboot --soft"
  followed "$vm"
  has_status ACTIVE
  guest true

  step "openstack server reboot --hard"
  alice server reboot --hard "$server"
  ended "$vm" ADMIN HOST_DESTROY "openstack server reboot --hard"
  followed "$vm"
  has_status ACTIVE
  guest true

  step "openstack server pause"
  alice server pause "$server"
  wait_for "it is paused" vm_says "$vm" PAUSED
  has_status PAUSED
  alice server unpause "$server"
  wait_for "it runs" vm_says "$vm" RUNNING
  has_status ACTIVE
  passed "openstack server pause and unpause: PAUSED, RUNNING"

  step "openstack server suspend"
  alice server suspend "$server"
  ended "$vm" ADMIN HOST_SAVE "openstack server suspend"
  has_status SUSPENDED
  alice server resume "$server"
  followed "$vm"
  has_status ACTIVE

  step "openstack server shelve"
  alice server shelve "$server"
  ended "$vm" ADMIN HOST_POWERDOWN "openstack server shelve"
  has_status SHELVED_OFFLOADED
  alice server unshelve "$server"
  followed "$vm"
  has_status ACTIVE
  guest true

  step "openstack server rebuild"
  quietly openstack server rebuild --image guest "$server"
  ended "$vm" ADMIN HOST_POWERDOWN "openstack server rebuild"
  followed "$vm"
  has_status ACTIVE
  guest true
}

check_users_poweroff() {
  step "a user's poweroff"
  guest 'poweroff -f'
  ended "$vm" USER GUEST_POWEROFF "poweroff in the guest"
  has_status SHUTOFF
  passed "poweroff in the guest: nova's SHUTOFF"
  start_server
}

check_crash() {
  step "QEMU crashes"
  kill -SEGV "$(qemu_pid)"
  ended "$vm" CRASH QEMU_CRASHED "SIGSEGV"
  start_server
}

check_failed_operation() {
  step "an operation that fails"
  local save=/var/lib/libvirt/qemu/save before
  before=$(vmevents -o json events "$vm" --type intent-declared | wc -l)
  mkdir -p $save
  mount -t tmpfs -o ro,size=4k none $save
  alice server suspend "$server"
  wait_for "its intent" bash -c "((\$(vmevents -o json events $vm --type intent-declared | wc -l) > $before))"
  wait_for "no intent is open" no_intent
  has_status ERROR
  umount $save
  openstack server set --state active "$server"
  guest 'poweroff -f'
  ended "$vm" USER GUEST_POWEROFF "poweroff in the guest after a suspend that failed"
  start_server
}

late_intents() { vmevents -o jsonl events "$vm" --type intent-late | wc -l; }
has_more_late() { (($(late_intents) > $1)); }

check_late_hook() {
  step "a late hook"
  local before
  before=$(late_intents)
  systemctl kill --kill-whom=main --signal=STOP nova-vmeventd
  alice server reboot --hard "$server"
  wait_for "it has ended" has_more_stops "$vm"
  followed "$vm"
  has_status ACTIVE
  systemctl kill --kill-whom=main --signal=CONT nova-vmeventd
  wait_for "the hook has read the notification" has_more_late "$before"
  guest 'poweroff -f'
  ended "$vm" USER GUEST_POWEROFF "poweroff in the guest after a hard reboot that the hook read late"
  start_server
}

# Stops a guest whose agent accepts nova's stop; it is off once the intent is declared.
check_agent() {
  step "openstack server stop of a guest with an agent"
  make_server web2 guest-with-agent
  # Libvirt connects to the agent after the guest has opened the port, which reads as ended until then.
  # shellcheck disable=SC2016  # for the guest's shell
  guest '(exec 5<>/dev/vport0p1; while true; do while read -r l <&5; do n=${l##*id\":}; n=${n%%\}*}; case $l in *guest-sync*) echo "{\"return\":${n# }}" >&5;; *) echo "{\"return\":{}}" >&5;; esac; done; usleep 100000; done) &'
  # libvirt shows the channel as connected some time before it uses the agent, and presses the button until then.
  wait_for "the agent answers" virsh -q qemu-agent-command "$vm" '{"execute":"guest-ping"}'
  alice server stop "$server"
  wait_for "the intent" intent_is_open
  guest 'poweroff -f'
  ended "$vm" ADMIN GUEST_POWEROFF "openstack server stop by the guest agent, with the hook"
  why_says web2 "power off by alice (project demo), req-"
  has_status SHUTOFF
  step "openstack server delete"
  start_server
  alice server delete --wait "$server"
  ended "$vm" ADMIN HOST_DESTROY "openstack server delete"
}

check_masakari() {
  step "masakari by the page"
  follow 1 act.md "Hooks that act"
  answers masakari 15868
  follow 2 act.md "Hooks that act"
  OS_USERNAME=alice OS_PROJECT_NAME=demo follow 3 act.md "Hooks that act"
  step "its notifier"
  quietly dpkg -i /root/python3-vmeventd.deb
  cd /root/ca || exit
  cp $hooks/masakari_notifier.py $hooks/masakari-vmeventd.service .
  bash -e -c "$(sed -n 's/^#   //p' masakari-vmeventd.service | sed -e 's|https://keystone.example|http://127.0.0.1|' -e 's/PASSWORD=.*/PASSWORD=secret/')"
  cd /root || exit
  wait_for "it follows" test -s /var/lib/private/masakari-vmeventd/cursor
  step "a crash"
  kill -SEGV "$(qemu_pid)"
  ended "$vm" CRASH QEMU_CRASHED "SIGSEGV, with masakari"
  followed "$vm"
  has_status ACTIVE
  passed "SIGSEGV: masakari 14 starts it again"
  guest 'poweroff -f'
  ended "$vm" USER GUEST_POWEROFF "poweroff in the guest, with masakari"
  has_status SHUTOFF
  same "masakari's notifications" "$(openstack notification list -f value -c notification_uuid | wc -l)" 1
  passed "poweroff in the guest: masakari leaves it off"
}

check() {
  # shellcheck source=/dev/null
  source /opt/admin
  make_databases
  make_identity
  make_images
  start_nova
  follow_page
  check_agent
  make_server web1 guest
  check_operations
  check_users_poweroff
  check_crash
  check_failed_operation
  check_late_hook
  check_masakari
  write_result nova-common 'OpenStack nova' qemu-system-x86
}
