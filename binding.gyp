{
  "variables": {
    "with_baseline": "<!(node -p \"process.env.WITH_BASELINE === '1' ? 1 : 0\")"
  },
  "targets": [
    {
      "target_name": "daemon_migration",
      "type": "none",
      "actions": [
        {
          "action_name": "cargo",
          "inputs": [],
          # .always never exists, so cargo is asked every time; it knows what is stale.
          "outputs": ["<(PRODUCT_DIR)/daemon_migration.node", "<(PRODUCT_DIR)/.always"],
          "action": ["node", "native/build.mjs", "--out=<(PRODUCT_DIR)"]
        }
      ]
    }
  ],
  "conditions": [
    ["with_baseline==1", {
      "targets": [
        {
          "target_name": "baseline",
          # Another extension than .node: prebuildify and node-gyp-build take the first .node that they find.
          "target_conditions": [["_type=='loadable_module'", { "product_extension": "addon" }]],
          "sources": [
            "native/baseline/baseline.cc",
            "native/baseline/codec_error.cc",
            "native/baseline/columns.cc",
            "native/baseline/frame.cc",
            "native/baseline/message.cc",
            "native/baseline/reassembler.cc",
            "native/baseline/reassembler_object.cc",
            "native/baseline/values.cc"
          ],
          "include_dirs": ["<!(node -p \"require('node-addon-api').include_dir\")"],
          "dependencies": ["<!(node -p \"require('node-addon-api').targets\"):node_addon_api_except"],
          "defines": ["NAPI_VERSION=8", "NODE_ADDON_API_DISABLE_DEPRECATED"],
          "cflags_cc": ["-O3", "-std=c++17", "-Wall", "-Wextra"]
        }
      ]
    }]
  ]
}
