/**
 * Shell that loads the modules of a folder in the order of their names, `NUMBER-NAME.ko`, with the options that the kernel's command line
 * has for them (`NAME.OPTION=VALUE`), as modprobe does. Needs /proc.
 */
export const loadModules = (folder: string): string => `read -r command_line </proc/cmdline
for module in ${folder}/*.ko; do
  [ -e "$module" ] || break
  name=\${module##*/}
  name=\${name#*-}
  name=\${name%.ko}
  # A module's own name has underscores only.
  until [ "$name" = "\${name%-*}" ]; do name=\${name%%-*}_\${name#*-}; done
  options=
  for word in $command_line; do
    case $word in "$name".*) options="$options \${word#*.}" ;; esac
  done
  insmod "$module" $options
done
`;
